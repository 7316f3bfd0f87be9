# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys of repositories and of Secrets in etcd. Each filter is documented in the YAML file of its name."""

from __future__ import annotations


def encryption_keys(files):
    """Return the keys in files of ``NAME KEY``; a KEY alone is called oscar. A name that comes again is left out."""
    found = {}
    for words in filter(None, (text.split() for text in files)):
        found.setdefault(words[0] if len(words) > 1 else "oscar", words[-1])
    return [{"name": name, "secret": secret} for name, secret in found.items()]


def has_gpg_key(listing, fingerprint, now):
    """Return whether ``gpg --with-colons`` lists a key with a fingerprint, and the key has not expired."""
    rows = [line.split(":") for line in listing.splitlines()]
    expiry = next((row[6] for row in rows if row[0] == "pub" and len(row) > 6), "")
    wanted = fingerprint.upper().replace(" ", "")
    return any(row[0] == "fpr" and wanted in row for row in rows) and (not expiry or int(expiry) > float(now))


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {"encryption_keys": encryption_keys, "has_gpg_key": has_gpg_key}
