# SPDX-License-Identifier: Apache-2.0
"""Launcher for a Kubernetes cluster: each attempt is a Job, made by one request."""
