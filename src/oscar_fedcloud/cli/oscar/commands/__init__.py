# SPDX-License-Identifier: Apache-2.0
"""The commands of ``oscar``, one file for each group."""
