# SPDX-License-Identifier: Apache-2.0
"""A plain folder behind the real ``rclone serve s3``, and the same server as any S3 store: polled."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest
from parts.disk import fill, small_disk
from parts.listings import count_pages
from parts.polling import make_poller
from parts.rclone_s3 import RcloneS3, rclone_binary

from oscar_fedcloud.api.errors import as_api_error
from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.sources.poll import Watch
from oscar_fedcloud.storage.errors import BucketMissing, BucketNotEmpty, StoreFull
from oscar_fedcloud.storage.folder.store import FolderStore
from oscar_fedcloud.storage.rclone import rclone_path
from oscar_fedcloud.storage.registry import make_provider

ODD_NAMES = [
    "plain.txt",
    "with space ",
    "a+b%c&#?",
    "é\u0301-日本",
    "quotes\"'`$(id)",
    "trailing.",
    ".hidden",
    "deep/er/name",
]
INPUT = Prefix("data", "in/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    with RcloneS3(tmp_path_factory.mktemp("store")) as running:
        yield running


def make(server: RcloneS3, kind: str, settle: float = 1.0) -> FolderStore:
    config = ProviderConfig(
        type=kind,
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        root=str(server.folder) if kind == "folder" else "",
        settle=settle,
        shared_key=True,
    )
    return make_provider("minio.default", config)


@pytest.fixture(params=["folder", "s3"])
def provider(request: pytest.FixtureRequest, server: RcloneS3) -> Iterator[FolderStore]:
    made = make(server, request.param)
    made.ensure_bucket("data")
    yield made
    made.delete_bucket("data", data=True)


@pytest.fixture
def folder(server: RcloneS3) -> Iterator[FolderStore]:
    made = make(server, "folder")
    made.ensure_bucket("data")
    yield made
    made.delete_bucket("data", data=True)


def listed(provider: FolderStore) -> dict[str, StorageEvent]:
    """What a listing shows once the server has noticed what is on disk."""
    time.sleep(1.1)
    return {event.key.removeprefix("in/"): event for event in provider.list(INPUT)}


def test_odd_names_come_through(provider) -> None:
    for name in ODD_NAMES:
        provider.put("data", f"in/{name}", name.encode(), depth=2)
    found = listed(provider)
    assert found.keys() == set(ODD_NAMES)
    for name, event in found.items():
        stated = provider.stat("data", event.key)
        assert (stated.revision, stated.order, stated.size, stated.depth) == (
            event.revision,
            event.order,
            event.size,
            2,
        )
        assert b"".join(provider.read("data", event.key)) == name.encode()


def test_listings_of_many_objects_are_whole(folder, server, monkeypatch) -> None:
    (server.folder / "data" / "in").mkdir()
    for number in range(1050):
        (server.folder / "data" / "in" / f"{number:04}").touch()
    assert listed(folder).keys() == {f"{number:04}" for number in range(1050)}
    pages = count_pages(monkeypatch)
    assert [event.key for event in islice(folder.list(INPUT, "in/0999"), 20)] == [
        f"in/{number:04}" for number in range(1000, 1020)
    ]
    assert pages == ["data"]


def test_a_page_begins_behind_a_name_that_is_not_utf8(folder, server) -> None:
    place = server.folder / "data" / "in"
    place.mkdir()
    names = [b"a", b"b\xfe", b"b\xff", b"c"]
    for name in names:
        Path(place, os.fsdecode(name)).touch()
    listed(folder)
    keys = [f"in/{name.decode(errors='surrogateescape')}" for name in names]
    for end, key in enumerate(keys):
        assert [event.key for event in folder.list(INPUT, key)] == keys[end + 1 :]


def test_a_page_begins_behind_any_key(provider) -> None:
    keys = sorted(f"in/{name}" for name in ["a", "b/1", "b/2", "b-3", "c d", "é", "z"])
    for key in keys:
        provider.put("data", key, b"x")
    time.sleep(1.1)
    for end, key in enumerate(keys):
        assert [event.key for event in provider.list(INPUT, key)] == keys[end + 1 :]
    assert [event.key for event in provider.list(INPUT, "in/b/11")] == keys[keys.index("in/b/2") :]
    assert [event.key for event in provider.list(INPUT, "a")] == keys
    assert list(provider.list(INPUT, "j")) == []


def test_each_content_has_its_revision(provider) -> None:
    revisions = []
    for body in (b"one", b"two", b"two", b"three"):
        revisions.append(provider.put("data", "in/a", body))
        time.sleep(0.01)
    assert len({event.revision for event in revisions}) == 4
    assert [event.order for event in revisions] == sorted({event.order for event in revisions})
    last = listed(provider)["a"]
    assert last.revision == revisions[-1].revision
    assert last.etag == hashlib.md5(b"three").hexdigest()


def test_a_folder_holds_files_that_were_put_there_by_hand(folder, server) -> None:
    (server.folder / "data" / "in").mkdir()
    (server.folder / "data" / "in" / "by hand").write_bytes(b"content")
    event = listed(folder)["by hand"]
    assert (event.size, folder.stat("data", "in/by hand").depth) == (7, 0)
    assert b"".join(folder.read("data", "in/by hand")) == b"content"


def test_an_older_file_copied_over_a_newer_one_is_the_newer_revision(folder, server) -> None:
    path = server.folder / "data" / "in" / "file"
    path.parent.mkdir()
    path.write_bytes(b"new")
    before = listed(folder)["file"]
    path.write_bytes(b"older content, copied with its time")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    after = listed(folder)["file"]
    assert after.etag == hashlib.md5(path.read_bytes()).hexdigest()
    assert after.revision != before.revision
    assert after.order > before.order


def test_names_that_the_server_shows_in_another_form_can_be_staged(folder, server, tmp_path: Path) -> None:
    (server.folder / "data" / "in").mkdir()
    (server.folder / "data" / "in" / "new\nline").write_bytes(b"content")
    (key,) = listed(folder)
    remote = folder.rclone_env("store", folder.ensure_credential(Service(name="svc"), None))
    environment = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null", **remote}
    source = f"store:data/in/{rclone_path(key)}"
    subprocess.run([rclone_binary(), "copyto", source, str(tmp_path / "file")], env=environment, check=True, timeout=60)
    assert (tmp_path / "file").read_bytes() == b"content"


async def test_a_name_that_is_not_utf8_holds_up_no_other(folder, server) -> None:
    bad = server.folder / "data" / "in" / os.fsdecode(b"bad\xff")
    bad.parent.mkdir()
    bad.write_bytes(b"content")
    bad.with_name("good").write_bytes(b"content")
    assert listed(folder).keys() == {"bad\udcff", "good"}
    assert folder.stat("data", "in/bad\udcff") is None
    assert folder.read("data", "in/bad\udcff") is None
    sink, watch = Sink(), Watch(INPUT)
    for _ in range(2):
        await make_poller(folder, sink).poll(watch)
    assert [event.key for event in sink.events] == ["in/good"]
    bad.unlink()  # the server cannot delete it
    await asyncio.sleep(1.1)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk, RcloneS3(disk) as server:
        provider = make(server, "folder")
        provider.ensure_bucket("data")
        assert provider.health()["ok"]
        for size in (10_000_000, 10_000):  # larger than what is free, and when nothing is
            with pytest.raises(StoreFull, match=rf"'in/a' is not stored in bucket data: .*\({disk}\) is full") as error:
                provider.put("data", "in/a", bytes(size))
            assert as_api_error(error.value).status == 507
            ballast = fill(disk)
        health = provider.health()
        assert (health["ok"], str(disk) in health["detail"]) == (False, True)
        assert "is full" in provider.why("data", "in/a")
        ballast.unlink()
        assert provider.health()["ok"]
        assert provider.put("data", "in/a", b"x").size == 1
        assert provider.why("data", "in/b") == ""


def test_buckets_are_folders(server) -> None:
    provider = make(server, "folder")
    assert provider.ensure_bucket("fresh")
    assert not provider.ensure_bucket("fresh")
    assert (server.folder / "fresh").is_dir()
    assert "fresh" in provider.buckets()
    provider.put("fresh", "deep/er/file", b"x")
    with pytest.raises(BucketNotEmpty):
        provider.delete_bucket("fresh", data=False)
    assert (server.folder / "fresh" / "deep" / "er" / "file").exists()
    provider.delete_bucket("fresh", data=True)
    assert not (server.folder / "fresh").exists()
    with pytest.raises(BucketMissing):
        list(provider.list(Prefix("fresh")))
    assert provider.read("fresh", "deep/er/file") is None


def test_listing_again_does_not_read_the_files_again(folder, server) -> None:
    for number in range(4):
        (server.folder / "data" / f"large-{number}").write_bytes(os.urandom(16 * 1024 * 1024))
    time.sleep(1.1)
    assert len(list(folder.list(Prefix("data")))) == 4
    before = read_bytes(server.pid)
    for _ in range(3):
        time.sleep(1.1)
        assert len(list(folder.list(Prefix("data")))) == 4
    assert read_bytes(server.pid) - before < 16 * 1024 * 1024


def read_bytes(pid: int) -> int:
    """Bytes that a process has read so far, whether from disk or not."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["rchar"])


class Sink:
    """A ledger that knows nothing, and keeps what is ingested."""

    def __init__(self) -> None:
        self.events: list[StorageEvent] = []

    def known(self, provider: str, bucket: str, events: Sequence[StorageEvent]) -> set[str]:
        return set()

    async def record(self, events: list[StorageEvent]) -> None:
        self.events += events


async def test_polling_waits_until_a_file_has_grown(folder, server) -> None:
    sink, watch = Sink(), Watch(INPUT)
    poller = make_poller(folder, sink)
    path = server.folder / "data" / "in" / "growing"
    path.parent.mkdir()
    for _ in range(3):
        with path.open("ab") as file:
            file.write(b"more")
        await asyncio.sleep(1.1)
        await poller.poll(watch)
    assert sink.events == []
    await asyncio.sleep(1.1)
    await poller.poll(watch)
    ((event),) = sink.events
    assert (event.key, event.size, event.via) == ("in/growing", 12, Origin.POLL)
    await poller.poll(watch)
    assert len(sink.events) == 1


async def found(provider: FolderStore, key: str) -> StorageEvent | None:
    """The event of a key that polling hands on after some listings."""
    sink, watch = Sink(), Watch(INPUT)
    poller = make_poller(provider, sink)
    for _ in range(3):
        await poller.poll(watch)
    return next((event for event in sink.events if event.key == key), None)


async def test_a_file_that_is_written_into_the_folder_counts_after_a_while(folder, server) -> None:
    patient = make(server, "folder", settle=3600.0)
    path = server.folder / "data" / "in" / "direct"
    path.parent.mkdir()
    path.write_bytes(b"part")
    await asyncio.sleep(1.1)
    assert await found(patient, "in/direct") is None
    assert "changed" in patient.why("data", "in/direct")
    assert (await found(make(server, "folder", settle=0.5), "in/direct")) is not None


async def test_a_file_that_came_through_the_server_counts_at_once(folder, server) -> None:
    patient = make(server, "folder", settle=3600.0)
    server.client().put_object("data", "in/uploaded", io.BytesIO(b"whole"), 5)
    patient.put("data", "in/ours", b"whole")
    assert await found(patient, "in/uploaded") is not None
    assert await found(patient, "in/ours") is not None
    assert patient.why("data", "in/uploaded") == ""
    await asyncio.sleep(1.1)
    (server.folder / "data" / "in" / "uploaded").write_bytes(b"somebody else writes")
    await asyncio.sleep(1.1)
    assert await found(patient, "in/uploaded") is None


@pytest.mark.parametrize("how", ["in place", "by rename"])
def test_other_content_of_the_same_size_and_time_is_another_revision(folder, server, how: str) -> None:
    path = server.folder / "data" / "in" / "same"
    path.parent.mkdir()
    path.write_bytes(b"old")
    time.sleep(1.1)
    before = listed(folder)["same"]
    times = path.stat()
    target = path if how == "in place" else path.with_name(".new")
    target.write_bytes(b"new")
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    target.replace(path)
    time.sleep(1.1)
    after = listed(folder)["same"]
    assert after.revision != before.revision
    assert after.etag == hashlib.md5(b"new").hexdigest()
    stated = folder.stat("data", "in/same")
    assert (stated.revision, stated.etag) == (after.revision, after.etag)


def test_a_file_that_was_replaced_before_anybody_looked_has_the_sum_of_its_content(folder, server) -> None:
    path = server.folder / "data" / "in" / "same"
    path.parent.mkdir()
    path.write_bytes(b"old")
    time.sleep(1.1)
    listed(folder)  # the server remembers the sum
    times = path.stat()
    path.write_bytes(b"new")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns - 5_000_000_000))
    time.sleep(1.1)
    server.client().stat_object("data", "in/same")
    path.write_bytes(b"odd")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns - 5_000_000_000))
    fresh = make(server, "folder")
    assert listed(fresh)["same"].etag == hashlib.md5(b"new").hexdigest()
    assert fresh.stat("data", "in/same").etag == hashlib.md5(b"odd").hexdigest()
    assert listed(fresh)["same"].revision == fresh.stat("data", "in/same").revision


def test_other_times_and_rights_make_no_other_revision(folder, server) -> None:
    path = server.folder / "data" / "in" / "same"
    path.parent.mkdir()
    path.write_bytes(b"content")
    time.sleep(1.1)
    before = listed(folder)["same"]
    path.chmod(0o600)
    path.rename(path.with_name("other"))
    path.with_name("other").rename(path)
    time.sleep(1.1)
    assert listed(folder)["same"].revision == before.revision


def test_a_link_is_named_and_makes_no_noise(folder, server) -> None:
    path = server.folder / "data" / "in" / "link"
    path.parent.mkdir()
    path.symlink_to("/etc/hostname")
    path.with_name("links").symlink_to(server.folder)
    time.sleep(1.1)
    assert listed(folder) == {}
    assert "data/in/link is a symbolic link" in folder.why("data", "in/link")
    assert "data/in/links is a symbolic link" in folder.why("data", "in/links/data/in/link")
    assert folder.why("data", "in/none") == ""
    assert "symlink" not in (server.scratch / "rclone.log").read_text()
    folder.delete_bucket("data", data=True)
    assert not (server.folder / "data").exists()
    assert Path("/etc/hostname").exists()
    folder.ensure_bucket("data")
