# SPDX-License-Identifier: Apache-2.0
"""``runner.sh`` tells what it stored, and copes with whatever a script leaves in its output folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from parts.daemon import rclone_binary
from parts.jobs import PROVIDER, SHELLS, Ended, Store, run, run_of, service, settings, spec_of
from parts.minio import MinioServer
from parts.pki import Authority
from parts.rclone_s3 import RcloneS3

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.dispatch.specs import job_spec
from oscar_fedcloud.domain.runs import StoredObject
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.launchers.runner.environment import remote_name
from oscar_fedcloud.storage.rclone import remote_environment


@pytest.fixture(scope="module")
def minio() -> Iterator[Store]:
    """A real MinIO that can encrypt."""
    with MinioServer(environment={"MINIO_KMS_SECRET_KEY": f"key:{'A' * 43}="}) as server:
        yield Store(server)


def stored(key: str, body: bytes) -> StoredObject:
    """An object as the runner should tell of it."""
    return StoredObject(PROVIDER, "data", key, len(body), hashlib.md5(body).hexdigest())


@pytest.mark.parametrize("shell", SHELLS)
def test_the_runner_tells_what_it_stored(minio: Store, shell: tuple[str, ...]) -> None:
    outputs = [
        {"storage_provider": PROVIDER, "path": "data/told/a", "suffix": [".a"]},
        {"storage_provider": PROVIDER, "path": "data/told/all"},
    ]
    script = """
        cd "$TMP_OUTPUT_DIR" && mkdir "s p" && printf one >x.a && printf two >"s p/new
line\u2400" && : >empty
        printf 'three cells\nmore\n' >.summary
    """
    ended = run(spec_of(minio, service(script, output=outputs), minio.put("in/told", b"x")), shell)
    assert (ended.code, ended.result.summary, ended.result.total) == (0, "three cells", 4)
    assert set(ended.outputs) == {
        stored("told/a/x.a", b"one"),
        stored("told/all/x.a", b"one"),
        stored("told/all/s p/new\nline\u2400", b"two"),
        stored("told/all/empty", b""),
    }
    assert sorted(minio.names("told/")) == sorted(each.key for each in ended.outputs)
    etags = {each.key: minio.client.stat_object("data", each.key).etag for each in ended.outputs}
    assert etags == {each.key: each.etag for each in ended.outputs}


def test_a_failure_has_a_summary_but_no_outputs(minio: Store) -> None:
    script = 'echo "no cells found" >"$TMP_OUTPUT_DIR/.summary"; touch "$TMP_OUTPUT_DIR/x"; exit 3'
    ended = run(spec_of(minio, service(script), minio.put("in/no cells", b"x")))
    assert (ended.code, ended.result.summary, ended.outputs) == (3, "no cells found", ())


@pytest.mark.parametrize("summary", ["é" * 100, "two\rlines\x1b[31m", ""])
def test_a_summary_is_one_short_line(minio: Store, summary: str) -> None:
    of = service('printf %s "$TEXT" >"$TMP_OUTPUT_DIR/.summary"', environment={"variables": {"TEXT": summary}})
    found = run(spec_of(minio, of, minio.put("in/summary", b"x"))).result.summary
    assert len(found) <= 80
    assert found.isprintable()


def test_a_long_list_is_told_as_a_whole(minio: Store) -> None:
    script = 'cd "$TMP_OUTPUT_DIR"; for i in $(seq 150); do echo "$i" >"a-rather-long-name-$i"; done'
    output = [{"storage_provider": PROVIDER, "path": "data/long"}]
    ended = run(spec_of(minio, service(script, output=output), minio.put("in/long", b"x")))
    assert (ended.code, ended.result.total, len(ended.outputs)) == (0, 150, 150)
    assert {each.key for each in ended.outputs} == set(minio.names("long/"))


def test_the_list_is_kept_beside_the_log(minio: Store) -> None:
    script = 'cd "$TMP_OUTPUT_DIR"; for i in $(seq 100); do echo "$i" >"a-rather-long-name-$i"; done'
    job = spec_of(minio, service(script), minio.put("in/beside", b"x"))
    ended = run(job, OSCAR_RECORD="1")
    assert 0 < len(ended.outputs) < 100
    listed = minio.read(f"step/{job.job}.outputs", "logs")
    assert listed.count(b"\noutput=0 ") == 99


def encrypted(store: Store, bucket: str) -> None:
    """A bucket whose objects the store encrypts, so that their eTags are no MD5."""
    from minio.sseconfig import Rule, SSEConfig

    store.client.make_bucket(bucket)
    store.client.set_bucket_encryption(bucket, SSEConfig(Rule.new_sse_kms_rule("key")))


def test_encrypted_inputs_and_outputs_pass_at_the_first_try(minio: Store, tmp_path: Path) -> None:
    encrypted(minio, "secret")
    event = minio.put("in/file", b"content", "secret")
    etag = minio.client.stat_object("secret", "in/file").etag or ""
    assert etag != event.etag
    calls, rclone = tmp_path / "calls", tmp_path / "rclone"
    rclone.write_text(f'#!/bin/sh\necho "$1" >>{calls}\nexec {rclone_binary()} "$@"\n')
    rclone.chmod(0o755)
    output = [{"storage_provider": PROVIDER, "path": "secret/out"}]
    of = service('cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/copy"', output=output)
    ended = run(spec_of(minio, of, replace(event, etag=etag), log_bucket=""), OSCAR_RCLONE=str(rclone))
    assert (ended.code, ended.reason) == (0, "done")
    assert minio.read("out/copy", "secret") == b"content"
    assert calls.read_text().split() == ["copyto", "lsjson", "copyto", "copy"]


def test_an_encrypted_input_that_changed_is_not_processed(minio: Store) -> None:
    encrypted(minio, "secret2")
    event = minio.put("in/file", b"content", "secret2")
    etag = minio.client.stat_object("secret2", "in/file").etag or ""
    minio.put("in/file", b"CONTENT", "secret2")
    assert run(spec_of(minio, service("true"), replace(event, etag=etag))).code == 122


GOOD = 'echo good >"$TMP_OUTPUT_DIR/good"; cd "$TMP_OUTPUT_DIR";'


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("leave", "named"),
    [
        ('touch "$(printf "latin-\\351.txt")"', "latin-\\xe9.txt"),
        ("ln -s /no/such/file dangling", "dangling is a link to nothing"),
        ("mkfifo pipe", "pipe is neither a file nor a folder"),
        ("mkdir deep; mkfifo 'deep/a pipe'", "deep/a pipe is neither"),
        (
            'ln -s /no a; touch "$(printf "b-\\351")"',
            'output a is a link to nothing; the name "b-\\xe9" is not UTF-8',
        ),
    ],
)
def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(
    minio: Store, shell: tuple[str, ...], leave: str, named: str
) -> None:
    folder = hashlib.md5(f"{leave}{shell}".encode()).hexdigest()
    output = [{"storage_provider": PROVIDER, "path": f"data/{folder}"}]
    ended = run(spec_of(minio, service(GOOD + leave, output=output), minio.put("in/odd", b"x")), shell)
    assert (ended.code, ended.phase) == (120, "stage_out")
    assert named in ended.reason
    assert ended.reason[-1] not in "; "
    assert minio.names(f"{folder}/") == [f"{folder}/good"]
    assert {each.key for each in ended.outputs} == {f"{folder}/good"}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("leave", "named"),
    [
        ("ln -s . a; ln -s . b", "is a link to a folder that it lies in"),
        ("mkdir a b; ln -s ../b a/x; ln -s ../a b/y", "is a link to a folder that it lies in"),
        ('ln -s "$TMP_OUTPUT_DIR/.." up', "up is a link to a folder that it lies in"),
        ("ln -s / root", "root is a link to /, which no job may read"),
        ("ln -s /proc/self/environ env", "env is a link to /proc/"),
        ("ln -s /proc/self self", "self is a link to /proc/"),
        ("ln -s /dev/zero zero", "zero is a link to /dev/zero, which no job may read"),
        (
            "mkdir d0; for i in $(seq 12); do mkdir d$i; ln -s ../d$((i - 1)) d$i/a; ln -s ../d$((i - 1)) d$i/b; done",
            "more than 100 links to folders",
        ),
    ],
)
def test_loops_and_secrets_are_found_before_anything_is_copied(
    minio: Store, shell: tuple[str, ...], leave: str, named: str
) -> None:
    output = [{"storage_provider": PROVIDER, "path": "data/never"}]
    ended = run(spec_of(minio, service(GOOD + leave, output=output), minio.put("in/loop", b"x")), shell)
    assert (ended.code, ended.phase) == (120, "stage_out")
    assert named in ended.reason
    assert minio.names("never/") == []


def test_ordinary_links_are_followed(minio: Store, tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "file").write_text("far")
    script = f"""
        cd "$TMP_OUTPUT_DIR"; mkdir own; echo own >own/file
        ln -s own twice; ln -s own/file link; ln -s "$INPUT_FILE_PATH" input; ln -s {tmp_path}/far far
    """
    output = [{"storage_provider": PROVIDER, "path": "data/links"}]
    assert run(spec_of(minio, service(script, output=output), minio.put("in/links", b"input"))).code == 0
    assert {name.removeprefix("links/"): minio.read(name) for name in minio.names("links/")} == {
        "own/file": b"own\n",
        "twice/file": b"own\n",
        "link": b"own\n",
        "input": b"input",
        "far/deep/file": b"far",
    }


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "remove",
    [
        'rm -rf "$TMP_OUTPUT_DIR"',
        'rm -rf "$TMPDIR"/*',
        'rm -rf "$TMPDIR"',
        'rm -rf "$TMP_OUTPUT_DIR"; touch "$TMP_OUTPUT_DIR"',
        'mv "$TMP_OUTPUT_DIR" "$TMP_OUTPUT_DIR.old"',
    ],
)
def test_a_script_that_removes_its_output_folder_has_failed(minio: Store, shell: tuple[str, ...], remove: str) -> None:
    ended = run(spec_of(minio, service(f"echo on; {remove}"), minio.put("in/removed", b"x")), shell)
    assert (ended.code, ended.phase) == (120, "stage_out")
    assert "the output folder is gone" in ended.reason
    assert ended.left == []


def test_without_outputs_the_folder_is_of_no_matter(minio: Store) -> None:
    job = spec_of(minio, service('rm -rf "$TMPDIR"/*; echo said', output=[]), minio.put("in/no outputs", b"x"))
    assert run(job).code == 0
    assert b"said\n" in minio.read(f"step/{job.job}.log", "logs")


def test_a_folder_made_anew_is_the_output_folder(minio: Store) -> None:
    script = 'rm -rf "$TMP_OUTPUT_DIR"; mkdir "$TMP_OUTPUT_DIR"; echo new >"$TMP_OUTPUT_DIR/new"; chmod 0 "$TMPDIR"'
    assert run(spec_of(minio, service(script), minio.put("in/anew", b"x"))).code == 0
    assert minio.read("out/new") == b"new\n"


def test_certificates_are_checked_by_the_settings_of_each_store(minio: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    checks: dict[str, bool | str] = {"any": False, "known": str(authority.certificate), "usual": True}
    with RcloneS3(tls=authority.issue("store", "store")) as server:
        (server.folder / "data").mkdir()
        keys = Credential(server.access_key, server.secret_key)
        stores = minio.variables()
        for name, verify in checks.items():
            config = ProviderConfig(type="s3", endpoint=server.endpoint, verify=verify)
            stores[f"s3.{name}"] = remote_environment(remote_name(f"s3.{name}"), config, keys)

        def ended(*names: str) -> Ended:
            told = {"access_key": keys.access_key, "secret_key": keys.secret_key, "region": "r"}
            of = service(
                'touch "$TMP_OUTPUT_DIR/x"',
                output=[{"storage_provider": f"s3.{name}", "path": f"data/{name}"} for name in names],
                storage_providers={"s3": dict.fromkeys(names, told)},
            )
            event = minio.put("in/certificates", b"x")
            return run(job_spec(of, "1", run_of(of, event), 1, settings(staging_timeout=2.0), stores))

        assert ended("any", "known").code == 0
        assert sorted(path.parent.name for path in server.folder.rglob("x")) == ["any", "known"]
        refused = ended("any", "usual", "known")
        assert refused.code == 120
        assert "(output 1)" in refused.reason
        assert "certificate" in refused.reason
        assert not (server.folder / "data" / "usual").exists()
