#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the real servers that the tests use from their Go modules, once, into a cache outside the tree.
set -eu
bin="${XDG_CACHE_HOME:-$HOME/.cache}/fedcloud-oscar/bin"
mkdir -p "$bin"

# build NAME MODULE@VERSION
build() {
    [ -x "$bin/$1" ] && return
    echo "Building $1 (once, 3 to 10 minutes) ..."
    log="$bin/$1.build.log"
    GOBIN="$bin" CGO_ENABLED=0 go install -v -ldflags '-s -w' "$2" > "$log" 2>&1 &
    job=$!
    while kill -0 "$job" 2> /dev/null; do
        sleep 10
        echo "  $(grep -vc '^go: ' "$log") packages compiled"
    done
    if ! wait "$job"; then
        tail -n 5 "$log" >&2
        echo "Building $1 failed; the whole log is $log" >&2
        exit 1
    fi
    rm "$log"
}

build minio github.com/minio/minio@latest
echo "Ready in $bin: minio"
