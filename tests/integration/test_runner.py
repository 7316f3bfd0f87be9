# SPDX-License-Identifier: Apache-2.0
"""``runner.sh`` alone on real stores: what it stages in and out, and what it does when a store does not play along."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from minio.versioningconfig import VersioningConfig
from parts.daemon import rclone_binary
from parts.jobs import PROVIDER, SHELLS, Ended, Runner, Store, run, service, spec_of
from parts.minio import MinioServer
from parts.rclone_s3 import RcloneS3
from parts.waiting import eventually

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import StoredObject

ODD_NAMES = [
    *["a b.txt", "plus+.txt", "per%20cent", "ütf-8 é", "new\nline", "quo'te\".txt", "$(id)", "`id`", "-dash"],
    *["*?[a]{b}", "quote\u201b\u240a", "trailing.", "trailing ", " leading", "#hash", "back\\slash", "a:b", "😀"],
    "full\uff0fslash",
]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The store of the single-machine profile."""
    with RcloneS3() as server:
        yield Store(server)


@pytest.fixture(scope="module")
def minio() -> Iterator[Store]:
    """A real MinIO."""
    with MinioServer() as server:
        yield Store(server)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_file_is_processed(store: Store, shell: tuple[str, ...]) -> None:
    event = store.put("in/first/photo.txt", b"colour\n")
    script = """
        tr a-z A-Z <"$INPUT_FILE_PATH" >"$TMP_OUTPUT_DIR/grey.txt"
        mkdir -p "$TMP_OUTPUT_DIR/deep/er" && echo more >"$TMP_OUTPUT_DIR/deep/er/one.txt"
        echo to-stdout; echo to-stderr >&2; echo "dirs $TMP_INPUT_DIR $(pwd) $STORAGE_OBJECT_KEY $EVENT_TIME"
    """
    ended = run(spec_of(store, service(script), event), shell)
    assert (ended.code, ended.phase, ended.left) == (0, "done", [])
    assert store.read("out/grey.txt") == b"COLOUR\n"
    assert store.read("out/deep/er/one.txt") == b"more\n"
    assert "to-stdout" in ended.output
    assert "to-stderr" in ended.output
    assert f"in/first/photo.txt {event.time}" in ended.output


def test_a_missing_input_is_gone(store: Store) -> None:
    event = store.put("in/gone/file", b"x")
    store.client.remove_object("data", "in/gone/file")
    ended = run(spec_of(store, service("echo ran"), event))
    assert (ended.code, ended.phase) == (121, "stage_in")
    assert "\nran" not in f"\n{ended.output}"


def test_a_folder_is_no_input(store: Store) -> None:
    event = store.put("in/folder/file", b"x")
    ended = run(spec_of(store, service("echo ran"), replace(event, key="in/folder")))
    assert ended.code == 121


@pytest.mark.parametrize("body", [b"longer than before", b"BEFORE"])
def test_a_changed_input_is_not_processed(store: Store, body: bytes) -> None:
    event = store.put("in/changed", b"before")
    store.put("in/changed", body)
    ended = run(spec_of(store, service("echo ran"), event))
    assert (ended.code, ended.phase) == (122, "stage_in")
    assert "\nran" not in f"\n{ended.output}"


def test_an_etag_of_many_parts_says_nothing_of_the_content(store: Store) -> None:
    event = replace(store.put("in/parts", b"content"), etag="0123456789abcdef0123456789abcdef-3")
    assert run(spec_of(store, service("true"), event)).code == 0


def test_the_input_may_be_left_in_the_store(store: Store) -> None:
    event = store.put("in/left", b"x")
    ended = run(
        spec_of(store, service('echo "[${INPUT_FILE_PATH-unset}]" $(ls "$TMP_INPUT_DIR")', file_stage_in=True), event)
    )
    assert ended.code == 0
    assert "[unset]\n" in ended.output


def test_odd_names_travel_both_ways(minio: Store) -> None:
    script = 'cp -r "$TMP_INPUT_DIR/." "$TMP_OUTPUT_DIR/$(basename "$STORAGE_OBJECT_KEY" | cksum | tr " " -)"'
    for name in ODD_NAMES:
        event = minio.put(f"in/{name}", name.encode())
        ended = run(spec_of(minio, service(script), event, log_bucket=""))
        assert ended.code == 0, (name, ended)
    found = {key.split("/", 2)[2]: minio.read(key).decode() for key in minio.names("out/")}
    assert found == {name: name for name in ODD_NAMES}


def test_many_odd_outputs_of_one_script(minio: Store, tmp_path: Path) -> None:
    event = minio.put("in/start", b"x")
    for name in ODD_NAMES:
        (tmp_path / "o").mkdir(exist_ok=True)
        (tmp_path / "o" / name).write_text(name)
    of = service(
        f'cp -r {tmp_path}/o/. "$TMP_OUTPUT_DIR"', output=[{"storage_provider": PROVIDER, "path": "data/many/$(id) é"}]
    )
    assert run(spec_of(minio, of, event)).code == 0
    assert set(minio.names("many/")) == {f"many/$(id) é/{name}" for name in ODD_NAMES}


def test_output_rules_and_several_outputs(store: Store) -> None:
    event = store.put("in/rules", b"x")
    outputs = [
        {"storage_provider": PROVIDER, "path": "data/rules/pictures", "suffix": [".png", ".jpg"]},
        {"storage_provider": PROVIDER, "path": "data/rules/both", "prefix": ["ab"], "suffix": ["bc"]},
    ]
    script = 'cd "$TMP_OUTPUT_DIR"; mkdir sub; touch a.png sub/b.jpg abc abxbc c.txt; echo 1 >sub/abc'
    assert run(spec_of(store, service(script, output=outputs), event)).code == 0
    pictures, both = ["rules/pictures/a.png", "rules/pictures/sub/b.jpg"], ["rules/both/abc", "rules/both/abxbc"]
    assert store.names("rules/") == sorted(pictures + both)


def test_an_empty_file_passes(store: Store) -> None:
    event = store.put("in/empty", b"")
    assert run(spec_of(store, service('cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/empty"'), event)).code == 0
    assert store.read("out/empty") == b""


SAME = 'mkdir "$TMP_OUTPUT_DIR/[s p"; echo result >"$TMP_OUTPUT_DIR/[s p/same.txt"; echo other >"$TMP_OUTPUT_DIR/b"'


def versions(store: Store, key: str) -> int:
    """How often an object of the bucket ``versions`` was written."""
    found = store.client.list_objects("versions", key, include_version=True)
    return sum(each.object_name == key for each in found)


@pytest.fixture(scope="module")
def versioned(minio: Store) -> Store:
    """The store with a bucket that keeps all that is written to it."""
    minio.client.make_bucket("versions")
    minio.client.set_bucket_versioning("versions", VersioningConfig("Enabled"))
    return minio


def retry_of(store: Store, event: StorageEvent, *written: StoredObject, script: str = SAME, folder: str) -> Ended:
    """The end of a second attempt, of which the first is recorded to have written this."""
    of = service(script, output=[{"storage_provider": PROVIDER, "path": f"versions/{folder}"}])
    return run(spec_of(store, of, event, attempt=2, written=written))


def test_a_retry_writes_only_what_is_not_recorded_of_an_earlier_attempt(versioned: Store) -> None:
    """Same content in the store is no reason to leave a file out unless an attempt of the same run wrote it."""
    event = versioned.put("in/same", b"x")
    same, other = "kept/[s p/same.txt", "kept/b"
    first = retry_of(versioned, event, folder="kept")
    assert (first.code, versions(versioned, same), versions(versioned, other)) == (0, 1, 1)
    recorded = [each for each in first.outputs if each.key == same]
    second = retry_of(versioned, event, *recorded, folder="kept")
    assert (second.code, versions(versioned, same), versions(versioned, other)) == (0, 1, 2)
    assert set(second.outputs) == set(first.outputs)  # told all the same
    assert second.result.total == 2


def test_a_retry_writes_again_what_is_not_in_the_store_any_more(versioned: Store) -> None:
    event, key = versioned.put("in/gone", b"x"), "gone/[s p/same.txt"
    written = retry_of(versioned, event, folder="gone").outputs
    versioned.client.remove_object("versions", key)
    before = versions(versioned, key)
    assert retry_of(versioned, event, *written, folder="gone").code == 0
    assert (versions(versioned, key) - before, versions(versioned, "gone/b")) == (1, 1)


def test_a_retry_writes_other_content_than_is_recorded(versioned: Store) -> None:
    """What another run has stored meanwhile is what this attempt makes, but none of this run's wrote it."""
    event, key = versioned.put("in/other", b"x"), "other/b"
    retry_of(versioned, event, folder="other")
    recorded = StoredObject(PROVIDER, "versions", key, 6, "0" * 32)
    assert retry_of(versioned, event, recorded, folder="other").code == 0
    assert versions(versioned, key) == 2


def test_a_retry_knows_large_files_by_their_size(versioned: Store) -> None:
    """Of these, no MD5 is recorded."""
    event = versioned.put("in/large", b"x")
    first = retry_of(versioned, event, folder="large")
    recorded = [replace(each, etag="") for each in first.outputs]
    assert retry_of(versioned, event, *recorded, folder="large").code == 0
    assert versions(versioned, "large/b") == 1
    wrong = [replace(each, size=7) for each in recorded]
    assert retry_of(versioned, event, *wrong, folder="large").code == 0
    assert versions(versioned, "large/b") == 2


def counting_rclone(folder: Path) -> Path:
    """An rclone that notes its calls in the file ``calls`` beside it."""
    rclone = folder / "rclone"
    rclone.write_text(f'#!/bin/sh\necho "$1" >>{folder}/calls\nexec {rclone_binary()} "$@"\n')
    rclone.chmod(0o755)
    return rclone


def test_a_file_that_is_as_expected_is_fetched_by_one_call(store: Store, tmp_path: Path) -> None:
    job = spec_of(store, service("true"), store.put("in/as expected", b"x"), log_bucket="")
    assert run(job, OSCAR_RCLONE=str(counting_rclone(tmp_path))).code == 0
    assert (tmp_path / "calls").read_text() == "copyto\n"


def test_of_what_is_not_the_file_no_more_than_its_size_is_fetched(store: Store, tmp_path: Path) -> None:
    event = store.put("in/place/one", b"x" * 1000)
    store.put("in/place/two", b"y" * 3_000_000)
    trace, rclone = tmp_path / "trace", tmp_path / "rclone"
    rclone.write_text(f'#!/bin/sh\nexec {rclone_binary()} "$@" --log-level INFO --stats 1h --log-file {trace}\n')
    rclone.chmod(0o755)
    job = spec_of(store, service("true"), replace(event, key="in/place"))
    assert run(job, OSCAR_RCLONE=str(rclone)).code == 121
    assert "two: Copied" not in trace.read_text()


@pytest.mark.parametrize(("body", "code"), [(b"before", 0), (b"BEFORE", 122)])
def test_where_nothing_tells_an_md5_the_store_is_asked(store: Store, tmp_path: Path, body: bytes, code: int) -> None:
    (tmp_path / "bin").mkdir()
    for tool in [tool for folder in ("/bin", "/usr/bin") for tool in Path(folder).iterdir() if tool.name != "md5sum"]:
        with suppress(FileExistsError):
            (tmp_path / "bin" / tool.name).symlink_to(tool)
    event = store.put("in/unmeasured", b"before")
    store.put("in/unmeasured", body)
    job = spec_of(store, service("true"), event)
    assert run(job, OSCAR_RCLONE=str(counting_rclone(tmp_path)), PATH=str(tmp_path / "bin")).code == code
    assert (tmp_path / "calls").read_text().startswith("lsjson\n")


def test_outputs_of_earlier_jobs_are_not_listed(minio: Store, tmp_path: Path) -> None:
    trace, rclone = tmp_path / "trace", tmp_path / "rclone"
    rclone.write_text(f'#!/bin/sh\nexec {rclone_binary()} "$@" --log-level DEBUG --dump headers --log-file {trace}\n')
    rclone.chmod(0o755)
    minio.put("out/earlier/result", b"x")
    script = 'mkdir "$TMP_OUTPUT_DIR/earlier" && echo x >"$TMP_OUTPUT_DIR/earlier/now"'
    job = spec_of(minio, service(script), minio.put("in/one more", b"x"))
    assert run(job, OSCAR_RCLONE=str(rclone)).code == 0
    requests = [line for line in trace.read_text().splitlines() if line.endswith(" HTTP/1.1")]
    assert [line for line in requests if "PUT /data/out/earlier/now" in line]
    assert [line for line in requests if "list-type" in line and "prefix=out" in line] == []


def test_outputs_tell_how_deep_they_are(minio: Store) -> None:
    event = replace(minio.put("in/deep", b"x"), depth=4)
    assert run(spec_of(minio, service('echo x >"$TMP_OUTPUT_DIR/deep.txt"'), event)).code == 0
    metadata = minio.client.stat_object("data", "out/deep.txt").metadata
    assert metadata is not None
    assert metadata["x-amz-meta-oscar-depth"] == "5"


def test_the_script_runs_once_though_the_store_is_away_when_it_ends(tmp_path: Path) -> None:
    with RcloneS3() as server:
        store = Store(server)
        event = store.put("in/patient", b"x")
        ready, ran = tmp_path / "ready", tmp_path / "ran"
        script = (
            f'echo once >>{ran}; echo y >"$TMP_OUTPUT_DIR/y"; touch {ready}; while [ -e {ready} ]; do sleep 0.1; done'
        )
        runner = Runner(spec_of(store, service(script), event))
        while not ready.exists():
            time.sleep(0.05)
        server.stop()
        ready.unlink()
        eventually(lambda: "could not be stored (output 0) yet: tried again until" in runner.output(), 60)
        server.start()
        ended = runner.wait()
        assert (ended.code, ended.phase) == (0, "done")
        assert store.read("out/y") == b"y\n"
        assert ran.read_text() == "once\n"


def test_staging_gives_up_after_its_time(tmp_path: Path) -> None:
    with RcloneS3() as server:
        store = Store(server)
        job = spec_of(store, service(f"touch {tmp_path}/ran"), store.put("in/away", b"x"), staging_timeout=2)
    ended = run(job)
    assert (ended.code, ended.phase) == (120, "stage_in")
    assert not (tmp_path / "ran").exists()


def test_what_is_refused_is_soon_given_up(minio: Store) -> None:
    event = minio.put("in/refused", b"x")
    of = service('echo x >"$TMP_OUTPUT_DIR/x"', output=[{"storage_provider": PROVIDER, "path": "no-such-bucket/out"}])
    began = time.monotonic()
    ended = run(spec_of(minio, of, event, staging_timeout=300))
    assert (ended.code, ended.phase) == (120, "stage_out")
    assert time.monotonic() - began < 100
