# SPDX-License-Identifier: Apache-2.0
"""The plain data that travels through the system. Imports nothing but the FDL."""
