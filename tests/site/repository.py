# SPDX-License-Identifier: Apache-2.0
"""A signed apt repository with the packages of :mod:`packages`."""

from __future__ import annotations

from pathlib import Path

import once
from packages import SOURCES, packages
from run import replacing, run, say, write
from settings import SITE, WWW

KEYRING = SITE / "gnupg"
SUITE = "stable"


def build(runc: Path) -> None:
    """Pack, index and sign, unless it was done with the same contents."""
    wanted = packages(runc)
    binaries = [binary for package in wanted for binary in package.binaries]
    recipe = [SOURCES, Path(__file__), Path(__file__).with_name("packages.py")]
    with once.making(WWW / "apt", *recipe, *map(once.stat, binaries)) as needed:
        if needed:
            say("Packing the apt repository ...")
            with replacing(WWW / "apt") as repository:
                (repository / "pool").mkdir()
                for package in wanted:
                    package.build(repository / "pool")
                _index(repository)
                _sign(repository)


def _index(repository: Path) -> None:
    suite = repository / "dists" / SUITE
    index = run("apt-ftparchive", "packages", "pool", cwd=repository)
    write(suite / "main/binary-amd64/Packages", index)
    options = {"Suite": SUITE, "Codename": SUITE, "Components": "main", "Architectures": "amd64", "Origin": "test site"}
    arguments = [f"--option=APT::FTPArchive::Release::{name}={value}" for name, value in options.items()]
    write(suite / "Release", run("apt-ftparchive", *arguments, "release", suite))


def _sign(repository: Path) -> None:
    KEYRING.mkdir(mode=0o700, exist_ok=True)
    gpg = ("gpg", "--homedir", KEYRING, "--batch", "--quiet")
    try:
        if not run(*gpg, "--list-secret-keys"):
            run(*gpg, "--passphrase", "", "--quick-generate-key", "test site", "ed25519", "sign", "never")
        suite = repository / "dists" / SUITE
        run(*gpg, "--output", suite / "InRelease", "--clearsign", suite / "Release")
        write(repository / "key.asc", run(*gpg, "--armor", "--export"))
        listing = run(*gpg, "--with-colons", "--fingerprint").splitlines()
        [fingerprint] = [line.split(":")[9] for line in listing if line.startswith("fpr:")]
        write(repository / "key.fingerprint", fingerprint + "\n")
    finally:
        run("gpgconf", "--homedir", KEYRING, "--kill", "all")
