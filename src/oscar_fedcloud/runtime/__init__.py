# SPDX-License-Identifier: Apache-2.0
"""What all daemons are built on: threads, waits that end, and failures that nobody expected."""
