# SPDX-License-Identifier: Apache-2.0
"""Where Jobs run. ``port`` says what a launcher is; ``registry`` makes the one that the configuration names."""
