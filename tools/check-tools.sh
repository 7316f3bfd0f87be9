#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: check-tools.sh quickstart|test
# Says in one line what is missing of the system's packages and how to get it.
set -u
purpose=${1:?quickstart or test}
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
if [ "$purpose" = test ]; then
    need "Go 1.21 or newer" golang-go has_go
    need PostgreSQL postgresql has_postgresql
    need git git git --version
fi

if [ -n "$missing" ]; then
    echo "Missing: $missing. On Debian or Ubuntu: sudo apt-get install$packages" >&2
    exit 1
fi
