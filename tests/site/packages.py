# SPDX-License-Identifier: Apache-2.0
"""Debian packages of Kubernetes and containerd as their projects publish them, around binaries that were built here.

What a package holds besides binaries lies in ``packages/NAME``, as in the target's file system.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from run import run, say
from settings import BIN, HERE
from versions import VERSIONS

SOURCES = HERE / "packages"


@dataclass(frozen=True)
class Package:
    """A package, and for each of its binaries the folder it is installed in."""

    name: str
    version: str
    binaries: Mapping[Path, str]

    @property
    def sources(self) -> Path:
        return SOURCES / self.name

    def build(self, folder: Path) -> Path:
        """Pack it into a folder."""
        say(f"  {self.name} {self.version}")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
            tree = Path(temporary, "tree")
            shutil.copytree(self.sources, tree)
            tree.chmod(0o755)
            control = tree / "DEBIAN/control"
            control.write_text(control.read_text().format(version=self.version))
            for binary, target in self.binaries.items():
                (tree / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(binary, tree / target)
            file = folder / f"{self.name}_{self.version}_amd64.deb"
            run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", tree, file)
        return file


def packages(runc: Path) -> list[Package]:
    """All packages; containerd's carries runc, as the published one does."""
    runtime = [runc, *(BIN / name for name in ("containerd", "containerd-shim-runc-v2", "ctr"))]
    containerd = f"{VERSIONS['containerd']}-1~debian.12~bookworm"
    return [
        *(
            Package(name, f"{version}-1.1", {folder / name: "usr/bin"})
            for version, folder in releases().items()
            for name in ("kubeadm", "kubectl", "kubelet")
        ),
        Package("kubernetes-cni", f"{VERSIONS['cni-plugins']}-1.1", dict.fromkeys(cni_plugins(), "opt/cni/bin")),
        Package("containerd.io", containerd, dict.fromkeys(runtime, "usr/bin")),
    ]


def releases() -> dict[str, Path]:
    """The versions of Kubernetes that were built, the one to upgrade from included, and where their programs are."""
    built = {VERSIONS["kubernetes-before"]: BIN / "before", VERSIONS["kubernetes"]: BIN}
    return {version: folder for version, folder in built.items() if (folder / "kubeadm").exists()}


def cni_plugins() -> list[Path]:
    """The plugins of the CNI project. Flannel's comes in an image of its own."""
    return sorted((BIN / "cni").iterdir())
