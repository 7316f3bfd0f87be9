# SPDX-License-Identifier: Apache-2.0
"""``runner.sh``, which every launcher starts: the scripts, what they are given, and what they leave."""
