# SPDX-License-Identifier: Apache-2.0
"""S3 stores: listings, objects and keys."""
