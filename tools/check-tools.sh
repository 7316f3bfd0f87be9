#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: check-tools.sh quickstart|test|site
# Says in one line what is missing of the system's packages and how to get it.
set -u
purpose=${1:?quickstart, test or site}
python=${PYTHON:-python3}
missing=
packages=

need() {  # need WHAT PACKAGE COMMAND...
    what=$1 package=$2
    shift 2
    if ! "$@" > /dev/null 2>&1; then
        missing="$missing${missing:+, }$what"
        packages="$packages $package"
    fi
}

has_postgresql() {
    command -v initdb || ls /usr/lib/postgresql/*/bin/initdb
}

# From 1.21 on, Go fetches by itself the version that a module asks for.
has_go() {
    go version | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])'
}

need "Python 3.11 or newer" python3 "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
need "Python's venv module" python3-venv "$python" -c 'import ensurepip, venv'
if [ "$purpose" != quickstart ]; then
    need "Go 1.21 or newer" golang-go has_go
fi
if [ "$purpose" = test ]; then
    need PostgreSQL postgresql has_postgresql
    need git git git --version
    need "a C compiler" gcc gcc --version
fi
if [ "$purpose" = site ]; then
    need "a C compiler" gcc sh -c 'echo "int main(void) { return 0; }" | gcc -static -x c -o /dev/null -'
    need systemd-nspawn systemd-container systemd-nspawn --version
    need mmdebstrap mmdebstrap mmdebstrap --version
    need apt-ftparchive apt-utils apt-ftparchive --version
    need GnuPG gnupg gpg --version
    need skopeo skopeo skopeo --version
    need docker-registry docker-registry docker-registry --version
    need nft nftables nft --version
    need ip iproute2 ip -Version
    need ssh openssh-client command -v ssh ssh-keygen
    need sshd openssh-server test -x /usr/sbin/sshd
    need "the list of certificate authorities" ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
fi

if [ -n "$missing" ]; then
    echo "Missing: $missing. On Debian or Ubuntu: sudo apt-get install$packages" >&2
    exit 1
fi
