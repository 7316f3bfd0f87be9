# SPDX-License-Identifier: Apache-2.0
"""Actions on machines: request, join, drain and remove."""
