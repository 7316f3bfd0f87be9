# SPDX-License-Identifier: Apache-2.0
"""Plain data types used throughout the system. Imports nothing but the FDL."""
