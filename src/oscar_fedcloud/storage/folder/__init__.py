# SPDX-License-Identifier: Apache-2.0
"""A folder served by ``rclone serve s3``: the store of a single machine."""
