# SPDX-License-Identifier: Apache-2.0
"""What is built, and how: one entry for each Go module. The versions are in ``versions.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

VERSIONS: dict[str, str] = tomllib.loads(Path(__file__).with_name("versions.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Build:
    """Programs of one Go module.

    ``programs`` maps the file that is made to the package within the module. ``also`` are further modules that must
    have a certain version, ``staging`` is the version of those that the module would take from its own tree.
    ``shifted_clock``: tests can shift the wall clock of the programs, see ``shifted_clock.py``.
    """

    name: str
    module: str
    version: str
    programs: Mapping[str, str]
    ldflags: str = "-s -w"
    flags: Sequence[str] = ()
    also: Mapping[str, str] = field(default_factory=dict)
    staging: str = ""
    with_c: bool = False
    shifted_clock: bool = field(default=False, repr=False)

    @property
    def modules(self) -> dict[str, str]:
        """The versions of all modules that are asked for."""
        return {self.module: self.version, **self.also}

    @property
    def packages(self) -> list[str]:
        """The import paths of the programs."""
        return [self.module + package for package in self.programs.values()]


def kubernetes(name: str, version: str, programs: Sequence[str], folder: str = "") -> Build:
    """Programs of Kubernetes, which say that they are of this version."""
    minor = version.split(".")[1]
    says = {"gitVersion": f"v{version}", "gitMajor": "1", "gitMinor": minor, "gitTreeState": "archive"}
    settings = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in says.items())
    return Build(
        name,
        "k8s.io/kubernetes",
        version,
        {folder + program: f"/cmd/{program}" for program in programs},
        ldflags=f"-s -w {settings}",
        staging="0." + version.removeprefix("1."),
    )


API_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
OTHER_PROGRAMS = ("kube-proxy", "kubeadm", "kubelet")
CNI_PLUGINS = {
    "main": ("bridge", "loopback", "ptp"),
    "ipam": ("host-local",),
    "meta": ("bandwidth", "firewall", "portmap", "tuning"),
}

MINIO = Build("minio", "github.com/minio/minio", VERSIONS["minio"], {"minio": ""})
# The same server under the name of a later release: there is no later one that could be built.
MINIO_NEXT = Build(
    "minio-next",
    "github.com/minio/minio",
    VERSIONS["minio"],
    {"minio-next": ""},
    ldflags="-s -w -X github.com/minio/minio/cmd.ReleaseTag=RELEASE.2026-11-01T00-00-00Z",
)
MINIO_CLOCK = Build("minio-clock", "github.com/minio/minio", VERSIONS["minio"], {"minio-clock": ""}, shifted_clock=True)
ETCD = Build("etcd", "go.etcd.io/etcd/server/v3", VERSIONS["etcd"], {"etcd": ""})
ETCDCTL = Build("etcdctl", "go.etcd.io/etcd/etcdctl/v3", VERSIONS["etcd"], {"etcdctl": ""})
CONTAINERD = Build(
    "containerd",
    "github.com/containerd/containerd/v2",
    VERSIONS["containerd"],
    {name: f"/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    ldflags=f"-s -w -X github.com/containerd/containerd/v2/version.Version={VERSIONS['containerd']}",
    flags=["-tags=no_btrfs,no_zfs,no_devmapper"],
)
CNI = Build(
    "cni-plugins",
    "github.com/containernetworking/plugins",
    VERSIONS["cni-plugins"],
    {f"cni/{name}": f"/plugins/{kind}/{name}" for kind, names in CNI_PLUGINS.items() for name in names},
)
# The last release of the CNI project that holds flannel's plugin.
FLANNEL_CNI = Build(
    "flannel-cni", "github.com/containernetworking/plugins", "0.9.1", {"flannel-cni": "/plugins/meta/flannel"}
)
FLANNEL = Build(
    "flannel",
    "github.com/flannel-io/flannel",
    VERSIONS["flannel"],
    {"flanneld": ""},
    ldflags=f'-s -w -extldflags "-static" -X github.com/flannel-io/flannel/pkg/version.Version=v{VERSIONS["flannel"]}',
    # It names a version of this module that is not to be had any more.
    also={"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common": "1.3.103"},
    with_c=True,  # for its backend "udp"
)
COREDNS = Build("coredns", "github.com/coredns/coredns", VERSIONS["coredns"], {"coredns": ""})
KWOK = Build("kwok", "sigs.k8s.io/kwok", VERSIONS["kwok"], {"kwok": "/cmd/kwok"})

GROUPS: Mapping[str, Sequence[Build]] = {
    "minio": [MINIO],
    "clock": [MINIO_CLOCK],
    "kubernetes-api": [kubernetes("kubernetes-api", VERSIONS["kubernetes"], API_PROGRAMS), ETCD],
    "site": [
        kubernetes("kubernetes", VERSIONS["kubernetes"], OTHER_PROGRAMS),
        *(ETCDCTL, CONTAINERD, CNI, COREDNS, FLANNEL, FLANNEL_CNI),
    ],
    "scale": [KWOK],
    "upgrade": [
        kubernetes("kubernetes-before", VERSIONS["kubernetes-before"], (*API_PROGRAMS, *OTHER_PROGRAMS), "before/"),
        MINIO_NEXT,
    ],
}
