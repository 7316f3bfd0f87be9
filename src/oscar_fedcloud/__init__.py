# SPDX-License-Identifier: Apache-2.0
"""OSCAR 2: event-driven file processing on cloud VMs. See docs/architecture.md."""

from importlib.metadata import version

__version__ = version("oscar-fedcloud")
