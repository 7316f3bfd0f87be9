# SPDX-License-Identifier: Apache-2.0
"""The observed cluster: nodes, Pods, and pending work."""
