# SPDX-License-Identifier: Apache-2.0
"""Object stores. ``ports`` says what a store can do; ``registry`` makes the stores that the configuration names."""
