# SPDX-License-Identifier: Apache-2.0
"""The node autoscaler: VMs come when files wait and go when nothing runs."""
