# SPDX-License-Identifier: Apache-2.0
"""Print the manifest of the CustomResourceDefinition, roles/autoscaler/files/kubernetes/crd.yaml."""

import sys

from oscar_fedcloud.autoscaler.machines.crd import manifest

if __name__ == "__main__":
    sys.stdout.write(manifest())
