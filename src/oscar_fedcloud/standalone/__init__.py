# SPDX-License-Identifier: Apache-2.0
"""The single-machine product: its data folder, its embedded store, and the supervision of both."""
