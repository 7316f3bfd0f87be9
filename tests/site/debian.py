# SPDX-License-Identifier: Apache-2.0
"""Debian file systems, from the package sources of this machine where it is a Debian of that release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from run import SiteError, run
from settings import DEBIAN


def sources() -> str:
    """The package sources of this machine, as lines of a ``sources.list``. Raises SiteError."""
    listing = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)|$(ORIGIN)"
    lines = run("apt-get", "indextargets", "--format", listing, "Created-By: Packages").splitlines()
    ours = {line.removesuffix("|Debian") for line in lines if line.endswith("|Debian") and f" {DEBIAN}" in line}
    if not ours:
        raise SiteError(
            f"The test site takes its machines' packages from those of this one, which must be Debian {DEBIAN}."
        )
    return "".join(f"{line}\n" for line in sorted(ours))


def bootstrap(target: Path, packages: Sequence[str], *options: str) -> None:
    """Make a file system of these packages: a folder, or a tar archive where the target ends in ``.tar``."""
    include = f"--include={','.join(packages)}"
    # All that it starts and mounts is gone when this process is, even when it is killed.
    contained = ("setpriv", "--pdeathsig=KILL", "unshare", "--mount-proc", "--pid", "--fork", "--kill-child")
    mmdebstrap = ("mmdebstrap", "--quiet", "--variant=minbase", include, *options)
    run(*contained, *mmdebstrap, DEBIAN, target, "-", stdin=sources())
