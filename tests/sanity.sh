#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ansible-test sanity over the tree as it stands here, also what is not committed yet.
# Usage: [ANSIBLE_TEST=path] tests/sanity.sh [options of "ansible-test sanity"]
set -eu

ansible_test=${ANSIBLE_TEST:-$(command -v ansible-test)}
python=$(dirname "$ansible_test")/python
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fedcloud-oscar/ansible-test

# ansible-test makes virtual environments and keeps them in its HOME. It would download a script that installs pip; this one
# takes pip from ensurepip and the version that is asked for from the index, over the CA certificates of the system.
mkdir -p "$cache/.ansible/test/cache"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
pip=$("$python" -c '
import sys
from ansible_test._internal.host_configs import VirtualPythonConfig
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(VirtualPythonConfig(version=sys.argv[1]))["pip"])' "$version")
cat > "$cache/.ansible/test/cache/get_pip_$(echo "$pip" | tr . _).py" <<'END'
import ensurepip
import os
import subprocess
import sys

ensurepip.bootstrap()
packages = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
bundle = "/etc/ssl/certs/ca-certificates.crt"
certificates = ["--cert", bundle] if os.path.exists(bundle) else []
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *certificates, *packages]))
END

# What Ansible reads; the daemon and the tests are judged by ruff and mypy.
content="CHANGELOG.md README.md changelogs docs galaxy.yml meta playbooks plugins roles tests/config.yml tests/sanity"

# It looks at a collection inside a git tree at .../ansible_collections/NAMESPACE/NAME. Files that git knows but that are
# deleted here are left out.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
collection=$work/ansible_collections/fedcloud/oscar
mkdir -p "$collection"
cd "$root"
git ls-files --cached --others --exclude-standard -z -- $content |
    tar --null --files-from=- --ignore-failed-read --create --file=- 2>/dev/null | tar --extract --directory="$collection"
cd "$collection"
git init --quiet
git add --all
HOME=$cache "$ansible_test" sanity --local --python "$version" --color no "$@"
