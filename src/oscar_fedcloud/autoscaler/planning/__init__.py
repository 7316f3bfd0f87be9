# SPDX-License-Identifier: Apache-2.0
"""What to do about it: pure functions of a snapshot."""
