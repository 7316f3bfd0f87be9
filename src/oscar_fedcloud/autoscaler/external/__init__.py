# SPDX-License-Identifier: Apache-2.0
"""The server for Cluster Autoscaler's cloud provider ``externalgrpc``: it decides, this autoscaler manages machines."""
