# SPDX-License-Identifier: Apache-2.0
"""The routes of the existing OSCAR API, as its clients expect them."""
