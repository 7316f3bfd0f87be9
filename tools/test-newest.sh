#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: test-newest.sh VERSION [PYTEST OPTION...]
# Run the unit tests on another Python, in an environment of its own below .venv-VERSION.
set -eu
version=$1
shift
for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python; do
    "$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null && break
    python=
done
if [ -z "$python" ]; then
    echo "Left out: Python $version is not installed."
    exit 0
fi
venv=.venv-$version
if [ ! -e "$venv/.dev" ] || [ pyproject.toml -nt "$venv/.dev" ]; then
    echo "Making $venv (once) ..."
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --editable '.[standalone,kubernetes,postgresql,test]'
    touch "$venv/.dev"
fi
exec "$venv/bin/pytest" -n 2 --dist loadfile --no-loadscope-reorder tests/unit "$@"
