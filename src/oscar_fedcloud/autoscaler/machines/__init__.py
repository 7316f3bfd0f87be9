# SPDX-License-Identifier: Apache-2.0
"""What is done: machines asked for, joined, drained and removed."""
