# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Addresses that daemons listen on (see local_url.yml)."""

from __future__ import annotations

ANY = ("", "0.0.0.0", "[::]")  # noqa: S104 - it is compared, nothing listens


def local_url(listen):
    """Return the URL by which the host itself reaches what listens on ADDRESS:PORT."""
    address, port = listen.rsplit(":", 1)
    return f"http://{'127.0.0.1' if address in ANY else address}:{port}"


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {"local_url": local_url}
