# SPDX-License-Identifier: Apache-2.0
"""The declared services as Kubernetes objects: an ``OscarService`` each, with its secrets in a Secret beside it."""
