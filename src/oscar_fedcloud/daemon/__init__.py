# SPDX-License-Identifier: Apache-2.0
"""The life of a daemon: its tasks, its word with the service manager, and its end."""
