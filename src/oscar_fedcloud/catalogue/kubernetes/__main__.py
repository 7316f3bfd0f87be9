# SPDX-License-Identifier: Apache-2.0
"""Prints the manifest of the CustomResourceDefinition, roles/invoker/files/kubernetes/crd.yaml."""

import sys

from oscar_fedcloud.catalogue.kubernetes.crd import manifest

if __name__ == "__main__":
    sys.stdout.write(manifest())
