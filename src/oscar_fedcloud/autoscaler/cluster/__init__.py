# SPDX-License-Identifier: Apache-2.0
"""The cluster as it is: nodes, Pods, and what waits."""
