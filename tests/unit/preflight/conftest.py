# SPDX-License-Identifier: Apache-2.0
"""Makes this tree importable as the collection that Ansible sees."""

from __future__ import annotations

import sys

from parts.ansible_run import collections_path

sys.path.insert(0, str(collections_path()))
