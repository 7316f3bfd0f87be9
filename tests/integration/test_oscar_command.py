# SPDX-License-Identifier: Apache-2.0
"""``oscar`` against a standalone server: what a person does in a terminal, and what a script does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.standalone import Person, running_standalone
from parts.waiting import eventually

FDL = """\
functions:
  oscar:
    - here:
        name: {name}
        image: busybox
        script: {name}.sh
        input: [{{storage_provider: minio, path: {name}/in}}]
        output: [{{storage_provider: minio, path: {name}/out}}]
"""
UPPER = '#!/bin/sh\ntr a-z A-Z < "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/$(basename "$INPUT_FILE_PATH").upper"\n'


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    with running_standalone(tmp_path_factory.mktemp("person") / "home") as running:
        yield running


def write_service(person: Person, name: str, script: str, extra: str = "") -> Path:
    (person.home / f"{name}.sh").write_text(script)
    fdl = person.home / f"{name}.fdl.yml"
    fdl.write_text(FDL.format(name=name) + extra)
    return fdl


def declare(person: Person, name: str, script: str, extra: str = "") -> None:
    person.oscar("apply", "--yes", write_service(person, name, script, extra))


def test_a_plan_is_shown_and_nothing_changes_before_it_is_confirmed(person: Person) -> None:
    fdl = write_service(person, "planned", UPPER)
    assert "+ create planned" in person.oscar("apply", "--dry-run", fdl)
    assert "no terminal to ask on" in person.oscar("apply", fdl, code=2)
    assert "planned" not in person.oscar("get", "-o", "name").splitlines()
    assert "planned is ready" in person.try_("oscar", "apply", "--yes", str(fdl)).stderr
    assert "1 unchanged" in person.oscar("apply", fdl), "without a change there is nothing to confirm"
    write_service(person, "planned", UPPER + "# more\n")
    shown = person.oscar("apply", "--dry-run", fdl)
    assert "~ update planned" in shown
    assert "+# more" in shown
    assert "memory" not in shown, "what stays as it is is not shown"
    assert "- delete planned" in person.oscar("delete", "planned", "--dry-run")
    person.oscar("delete", "planned", "--yes")
    person.oscar("get", "planned", code=4)


def test_problems_have_their_place_in_the_file_whether_they_are_found_here_or_by_the_server(person: Person) -> None:
    fdl = write_service(person, "placed", UPPER)
    text = fdl.read_text()
    fdl.write_text(text.replace("placed/out", "placed/out*"))
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "placed/out" in line)
    assert f"{fdl}:{line}:" in person.oscar("apply", "--yes", fdl, code=2)
    rucio = "{host: h, auth_host: a, account: c, rse: r, refresh_token: t}"
    old = next(line for line in text.splitlines() if "placed/out" in line)
    fdl.write_text(
        text.replace(old, old.replace("minio", "rucio.x")) + f"storage_providers: {{rucio: {{x: {rucio}}}}}\n"
    )
    refused = person.oscar("apply", "--yes", fdl, code=1)
    assert re.search(rf"{fdl}:{line}:\d+: functions\.oscar\[0\]\.[a-z-]+\.output\[0\]\.storage_provider: ", refused)


def test_secrets_are_shown_in_no_plan_and_in_no_document(person: Person) -> None:
    secret = "the-secret-value-" + "x" * 8
    extra = f"        environment: {{secrets: {{PASSWORD: {secret}}}}}\n"
    fdl = write_service(person, "secretive", UPPER, extra)
    for arguments in (("apply", "--dry-run", fdl), ("apply", "--yes", fdl), ("describe", "secretive")):
        shown = person.oscar(*arguments)
        assert "PASSWORD" in shown
        assert secret not in shown
    for form in ("json", "yaml"):
        assert secret not in person.oscar("get", "secretive", "-o", form)
    person.oscar("delete", "secretive", "--yes")


def test_prune_removes_what_the_files_do_not_declare(tmp_path: Path) -> None:
    with running_standalone(tmp_path / "home") as person:
        declare(person, "first", UPPER)
        declare(person, "second", UPPER)
        fdl = person.home / "first.fdl.yml"
        assert "- delete second" in person.oscar("apply", "--prune", "--dry-run", fdl)
        person.oscar("apply", "--prune", "--yes", fdl)
        assert person.oscar("get", "-o", "name").split() == ["first"]


def test_files_and_folders_are_sent_and_their_jobs_waited_for(person: Person, tmp_path: Path) -> None:
    declare(person, "upper", UPPER)
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    for name in ("a b.txt", "ü.txt", "deep/c.txt"):
        (folder / name).write_text(f"this is {name}")
    (tmp_path / "single.txt").write_text("one")
    shown = person.oscar("put", folder, tmp_path / "single.txt", "upper", "--wait", "-o", "json")
    found = {each["key"]: each["state"] for each in json.loads(shown)}
    keys = {"in/a b.txt", "in/ü.txt", "in/deep/c.txt", "in/single.txt"}
    assert found == dict.fromkeys(keys, "succeeded")
    jobs = json.loads(person.oscar("jobs", "upper", "--state", "succeeded", "-o", "json"))
    assert {job["key"] for job in jobs} >= keys
    assert "ran" in person.oscar("why", "upper/in/ü.txt")


def test_a_job_that_fails_is_an_exit_code_and_its_log_says_why(person: Person, tmp_path: Path) -> None:
    declare(person, "broken", "#!/bin/sh\necho it is broken\nexit 7\n")
    (tmp_path / "x").write_text("x")
    shown = person.oscar("put", tmp_path / "x", "broken", "--wait", code=3)
    assert "failed" in shown
    assert "exit" in shown
    assert "it is broken" in person.oscar("logs", "broken")
    job = person.oscar("jobs", "broken", "-o", "name").strip()
    assert "7" in person.oscar("job", job)
    person.oscar("retry", job)
    eventually(lambda: json.loads(person.oscar("job", job, "-o", "json"))["state"] == "failed")
    assert json.loads(person.oscar("job", job, "-o", "json"))["attempts"] == 2
    person.oscar("fetch", job, code=3)
    person.oscar("retry", "0" * 18, code=4)


def test_a_log_is_followed_until_the_job_ends(person: Person, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    declare(person, "slow", f"#!/bin/sh\necho began\nwhile ! test -e {gate}; do sleep 0.1; done\necho ended\n")
    (tmp_path / "y").write_text("y")
    person.oscar("put", tmp_path / "y", "slow")
    eventually(lambda: person.oscar("jobs", "slow", "--state", "running", "-o", "name"))
    command = person.command("oscar", "logs", "-f", "slow")
    with subprocess.Popen(command, env=person.environ(), stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline() == "began\n"
        gate.touch()
        assert follow.stdout.read().startswith("ended\n")
    assert follow.returncode == 0


def test_ctrl_c_ends_a_wait_without_a_traceback_and_the_job_can_be_cancelled(person: Person, tmp_path: Path) -> None:
    declare(person, "endless", "#!/bin/sh\nwhile :; do sleep 1; done\n")
    (tmp_path / "z").write_text("z")
    put = subprocess.Popen(
        person.command("oscar", "put", tmp_path / "z", "endless", "--wait"),
        env=person.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: person.oscar("jobs", "endless", "--state", "running", "-o", "name"))
    put.send_signal(signal.SIGINT)
    out, err = put.communicate(timeout=30)
    assert put.returncode == 130
    assert "Traceback" not in out + err
    job = person.oscar("jobs", "endless", "-o", "name").strip()
    person.oscar("cancel", job)
    eventually(lambda: person.oscar("jobs", "endless", "--state", "cancelled", "-o", "name"))


def test_objects_are_listed_copied_and_buckets_made_and_deleted(person: Person, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "one").write_text("1")
    (tmp_path / "tree" / "sub" / "two").write_text("22")
    person.oscar("buckets", "create", "things")
    assert "things" in person.oscar("buckets").split()
    person.oscar("cp", "-r", tmp_path / "tree", "s3://things/copy/")
    assert person.oscar("ls", "things/copy", "-o", "name").split() == [
        "s3://things/copy/one",
        "s3://things/copy/sub/two",
    ]
    person.oscar("cp", "-r", "s3://things/copy", tmp_path / "back")
    assert (tmp_path / "back" / "sub" / "two").read_text() == "22"
    assert person.oscar("cp", "s3://things/copy/one", "-") == "1"
    person.oscar("cp", "s3://things/copy/none", tmp_path / "none", code=4)
    assert not (tmp_path / "none").exists()
    person.oscar("rm", "things/copy/one")
    person.oscar("rm", "things/copy/one", code=4)
    person.oscar("rm", "-r", "things/copy", code=2)
    (tmp_path / "three").write_text("3")
    person.oscar("cp", tmp_path / "three", "s3://things/kept")
    person.oscar("rm", "-r", "things/copy", "--yes")
    assert person.oscar("ls", "things", "-o", "name").split() == ["s3://things/kept"]
    person.oscar("buckets", "delete", "things", "--yes", code=1)
    person.oscar("buckets", "delete", "things", "--data", "delete", "--yes")
    person.oscar("ls", "things", code=4)


def test_earlier_revisions_are_listed_and_taken_back(person: Person) -> None:
    declare(person, "revised", UPPER)
    declare(person, "revised", UPPER + "# second\n")
    assert person.oscar("services", "revisions", "revised", "-o", "name").split() == ["2", "1"]
    person.oscar("services", "rollback", "revised", "--yes")
    assert "# second" not in person.oscar("describe", "revised")


def test_the_server_is_described_and_examined(person: Person) -> None:
    assert json.loads(person.oscar("info", "-o", "json"))["readiness"]["ready"] is True
    findings = json.loads(person.oscar("doctor", "-o", "json"))
    assert {each["state"] for each in findings} == {"ok"}
    elsewhere = Person(person.home, {"OSCAR_ENDPOINT": "http://127.0.0.1:1"})
    assert "fail  endpoint" in elsewhere.oscar("doctor", code=1)
    assert "cannot be reached" in elsewhere.oscar("get", code=6)
    endpoint = json.loads(person.oscar("context", "show", "-o", "json"))["endpoint"]
    stranger = Person(person.home, {"OSCAR_ENDPOINT": endpoint, "OSCAR_PASSWORD": "wrong"})
    assert "refused user oscar" in stranger.oscar("get", code=5)


def test_results_are_exactly_those_that_each_file_gave(person: Person, tmp_path: Path) -> None:
    declare(person, "exact", UPPER)
    old = person.home / ".local/share/oscar-standalone/store/exact/out"
    old.mkdir(parents=True, exist_ok=True)
    for name in ("sample.csv.old", "a-sample.csv.upper", "sample.csv.upper.upper"):
        (old / name).write_text("of another time")
    names = ["sample.csv", "sample-1.csv", "sample_old.csv", "my sample.csv"]
    for name in names:
        (tmp_path / name).write_text(f"content of {name}")
    person.oscar("put", *(tmp_path / name for name in names), "exact", "--dest", tmp_path / "results")
    found = {file.name: file.read_text() for file in (tmp_path / "results").iterdir()}
    assert found == {f"{name}.upper": f"content of {name}".upper() for name in names}
    job = json.loads(person.oscar("jobs", "exact", "--key", "in/sample.csv", "-o", "json"))[0]
    person.oscar("fetch", job["id"], "--dest", tmp_path / "again")
    assert [file.name for file in (tmp_path / "again").iterdir()] == ["sample.csv.upper"]
    (old / "sample.csv.upper").write_text("written by hand since")
    assert "another object now" in person.oscar("fetch", job["id"], "--dest", tmp_path / "third", code=1)
    assert not (tmp_path / "third" / "sample.csv.upper").exists()


def test_a_name_that_leads_out_of_the_folder_is_not_written(tmp_path: Path) -> None:
    from oscar_fedcloud.cli.oscar.download import Names
    from oscar_fedcloud.cli.oscar.errors import CommandError

    names = Names(tmp_path)
    for name in ("../x", "/etc/x", "a/../../x", "a//b", ".", "", "a/\0"):
        with pytest.raises(CommandError):
            names.take(name, "bucket", name, "job")
    assert names.take("x", "bucket", "out/x", "1") == tmp_path / "x"
    assert names.take("x", "other", "out/x", "2") == tmp_path / "2" / "other" / "out" / "x"
