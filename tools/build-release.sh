#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: build-release.sh BIN DIST
# Builds the collection's tarball into DIST with the tools in BIN (a virtual environment). A published collection must work
# with only meta, plugins, roles and playbooks present, so the wheel goes into the invoker role and the quickstart's example
# beside the playbooks, in a copy of the tree.
set -eu
bin=$1 dist=$2
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# The committed files and, in a working tree, the new ones that git would not ignore.
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - --create | tar --extract --directory "$copy"

echo "Building the wheel ..."
"$bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$copy/roles/invoker/files" "$copy"
rm -rf "$copy/build" "$copy"/src/*.egg-info

mkdir -p "$copy/playbooks/files"
cp -R "$copy/examples/grayify" "$copy/playbooks/files/"

echo "Building the collection ..."
mkdir -p "$dist"
"$bin/ansible-galaxy" collection build --force --output-path "$dist" "$copy"
