# SPDX-License-Identifier: Apache-2.0
"""The routes of the existing OSCAR, as its clients expect them."""
