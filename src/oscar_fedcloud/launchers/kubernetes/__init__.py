# SPDX-License-Identifier: Apache-2.0
"""The launcher for a Kubernetes cluster: each attempt is a Job, created by one request."""
