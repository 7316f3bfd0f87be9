# SPDX-License-Identifier: Apache-2.0
"""Any S3 store: listings, objects, and the records of its notifications."""
