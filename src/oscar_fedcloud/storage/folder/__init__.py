# SPDX-License-Identifier: Apache-2.0
"""A plain folder behind ``rclone serve s3``: the store of a single machine."""
