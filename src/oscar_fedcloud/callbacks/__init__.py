# SPDX-License-Identifier: Apache-2.0
"""Posts the end of each job to the URL that its service names."""
