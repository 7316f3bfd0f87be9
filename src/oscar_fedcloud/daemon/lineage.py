# SPDX-License-Identifier: Apache-2.0
"""A ledger that was lost is never silently begun anew: finished work would run again.

A new ledger is taken at once where nothing tells of an earlier life. Where services are declared, or the data folder
names another ledger, it has to be asked for, and what the inputs hold by then counts as processed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.entries import InputState
from oscar_fedcloud.daemon.wishes import WISH
from oscar_fedcloud.ledger import Ledger, LedgerIdentity, LedgerLost
from oscar_fedcloud.ledger.database.engines import shown

log = structlog.get_logger(__name__)

MARKER = "ledger.id"  # in the data folder: the ledger that the site works with


def earlier_life(identity: LedgerIdentity, marker: str, services: int) -> list[str]:
    """Return what tells that the site worked with another ledger than this one; nothing if the ledger is its own."""
    if identity.accepted or marker == identity.id:
        return []
    signs = []
    if marker:
        signs.append(f"its data folder names ledger {marker}")
    if services:
        signs.append("1 service is declared" if services == 1 else f"{services} services are declared")
    return signs


async def take_ledger(ledger: Ledger, url: str, catalogue: Catalogue, data: Path) -> None:
    """Make sure that this is the site's ledger, before anything works with it. Raises LedgerLost."""
    identity = await asyncio.to_thread(ledger.identity)
    signs = earlier_life(identity, _marker(data), len(catalogue.entries))
    if signs and not (data / WISH).exists():
        raise LedgerLost(_how_to_go_on(url, signs, data))
    if signs:
        log.warning("a new ledger is begun: what is in the inputs now counts as processed", known=signs)
        await _forget_baselines(catalogue)
    if not identity.accepted:
        await asyncio.to_thread(ledger.accept)
    await asyncio.to_thread(_mark, data, identity.id)


def _how_to_go_on(url: str, signs: Sequence[str], data: Path) -> str:
    return (
        f"the ledger {shown(url)} is empty, but this site has worked before ({', '.join(signs)}). "
        "Restore a backup of the ledger; or begin anew with the option --new-ledger (or an empty file "
        f"{data / WISH}), by which everything that is in the inputs now counts as processed"
    )


async def _forget_baselines(catalogue: Catalogue) -> None:
    """Have all inputs listed anew: what is older than now is old for their services, whatever the services say."""
    now = time.time()
    for name, entry in list(catalogue.entries.items()):
        fresh = msgspec.structs.replace(entry, inputs=dict.fromkeys(entry.inputs, InputState(since=now)))
        await asyncio.to_thread(catalogue.repository.save_inputs, fresh)
        catalogue.entries[name] = fresh


def _marker(data: Path) -> str:
    try:
        return (data / MARKER).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _mark(data: Path, name: str) -> None:
    if _marker(data) != name:
        fresh = data / f"{MARKER}.new"
        fresh.write_text(f"{name}\n", encoding="ascii")
        fresh.replace(data / MARKER)
    (data / WISH).unlink(missing_ok=True)
