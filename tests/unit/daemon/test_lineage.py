# SPDX-License-Identifier: Apache-2.0
"""A ledger that was lost is never silently begun anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from parts.old_ledger import make_first_version

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.entries import Entry, InputState
from oscar_fedcloud.catalogue.folder_repository import FolderRepository
from oscar_fedcloud.daemon.lineage import MARKER, earlier_life, take_ledger
from oscar_fedcloud.daemon.wishes import WISH, wish_for
from oscar_fedcloud.fdl import Input, Service, to_document
from oscar_fedcloud.ledger import Ledger, LedgerIdentity, LedgerLost

INPUT = "minio.default/photos/in/"


@pytest.mark.parametrize(
    ("accepted", "marker", "services", "lost"),
    [
        (False, "", 0, False),  # the first start of a fresh site
        (False, "mine", 0, False),  # the first start broke off
        (False, "mine", 3, False),
        (False, "", 3, True),  # the data folder is gone as well, the services are in Kubernetes
        (False, "other", 0, True),
        (False, "other", 3, True),
        (True, "mine", 3, False),
        (True, "", 3, False),  # another data folder
        (True, "other", 3, False),  # a restored backup
    ],
)
def test_signs_of_an_earlier_life(accepted: bool, marker: str, services: int, lost: bool) -> None:
    assert bool(earlier_life(LedgerIdentity("mine", accepted), marker, services)) is lost


class Site:
    """A data folder with a catalogue of services, and its ledger."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.url = f"sqlite:///{folder}/ledger.db"

    async def start(self) -> tuple[Catalogue, str]:
        """Begin as the daemon does; returns the catalogue and the ledger's name."""
        ledger = Ledger.open(self.url)
        catalogue = Catalogue(FolderRepository(self.data / "services"), 5, {})
        catalogue.load()
        try:
            await take_ledger(ledger, self.url, catalogue, self.data)
            return catalogue, ledger.identity().id
        finally:
            ledger.close()

    def declare(self, **more: Any) -> None:
        """Have a service whose input has its baseline."""
        source = Input(storage_provider="minio.default", path="photos/in", **more)
        service = Service(name="grayify", image="x", script="true", input=(source,), token="t" * 64)
        document = to_document(service)
        inputs = {INPUT: InputState(100.0, baselined=True)}
        entry = Entry(name="grayify", revision=1, created=100.0, changed=100.0, document=document, inputs=inputs)
        FolderRepository(self.data / "services").write([entry], [])

    def lose(self, empty: bool = False) -> None:
        """The ledger's files are gone, or the ledger is an empty file."""
        for path in self.data.glob("ledger.db*"):
            path.unlink()
        if empty:
            (self.data / "ledger.db").touch()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty data folder."""
    return Site(tmp_path)


async def test_first_start_and_the_next_ones_need_nothing(site: Site) -> None:
    _, name = await site.start()
    assert (site.data / MARKER).read_text().strip() == name
    site.declare()
    catalogue, again = await site.start()
    assert again == name
    assert catalogue.entries["grayify"].inputs[INPUT].baselined


@pytest.mark.parametrize("empty", [False, True])
async def test_a_lost_ledger_is_refused_until_it_is_asked_for(site: Site, empty: bool) -> None:
    await site.start()
    site.declare()
    site.lose(empty)
    for _ in range(2):  # the first try has made an empty ledger
        with pytest.raises(LedgerLost, match=r"ledger\.db is empty.*1 service is declared.*--new-ledger"):
            await site.start()
    wish_for(site.data)
    catalogue, name = await site.start()
    assert not catalogue.entries["grayify"].inputs[INPUT].baselined
    assert catalogue.entries["grayify"].inputs[INPUT].since > 1e9
    assert (site.data / MARKER).read_text().strip() == name
    assert not (site.data / WISH).exists()
    again, _ = await site.start()
    assert again.entries["grayify"].inputs == catalogue.entries["grayify"].inputs


async def test_services_alone_are_proof_enough(site: Site) -> None:
    """The data folder is new, the services are elsewhere."""
    site.declare()
    with pytest.raises(LedgerLost):
        await site.start()
    assert not (site.data / MARKER).exists()


async def test_the_wish_for_a_new_ledger_harms_none_that_is_there(site: Site) -> None:
    _, name = await site.start()
    site.declare()
    wish_for(site.data)
    catalogue, again = await site.start()
    assert again == name
    assert catalogue.entries["grayify"].inputs[INPUT].baselined
    assert not (site.data / WISH).exists()


async def test_an_upgraded_ledger_is_the_one_of_its_site(site: Site) -> None:
    """One that was made before ledgers had names."""
    make_first_version(site.url)
    site.declare()
    catalogue, _ = await site.start()
    assert catalogue.entries["grayify"].inputs[INPUT].baselined


async def test_existing_objects_are_not_granted_twice(site: Site) -> None:
    """``existing: process`` was carried out by the ledger that was lost."""
    await site.start()
    site.declare(existing="process")
    site.lose()
    wish_for(site.data)
    catalogue, _ = await site.start()
    entry = catalogue.entries["grayify"]
    assert entry.inputs[INPUT].since > entry.changed
    assert msgspec.json.decode((site.data / "services" / "grayify.json").read_bytes(), type=Entry) == entry
