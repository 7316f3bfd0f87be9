# SPDX-License-Identifier: Apache-2.0
"""The declared services as Kubernetes objects: one ``OscarService`` each, with a Secret for its secrets."""
