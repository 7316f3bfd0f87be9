# SPDX-License-Identifier: Apache-2.0
"""Shared by all daemons: supervised tasks, threads, cancellable waits, and unexpected failures."""
