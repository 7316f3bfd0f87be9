# SPDX-License-Identifier: Apache-2.0
"""Entry points of the role daemon, with a systemctl that takes notes and a service that some versions make ready."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from parts.ansible_run import VERSIONS, Ansible, Run

SYSTEMCTL = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  show) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\nUnitFileState=enabled\\n' ;;
  is-enabled) echo enabled ;;
  --version) echo systemd 252 ;;
esac
"""


class Host:
    """A folder with a daemon's versions, settings and state; its service is ready where the version is called good."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.version = folder, port, "newest"
        self.log = folder / "systemctl.log"
        (folder / "bin").mkdir()
        for name, text in (
            ("systemctl", SYSTEMCTL.format(log=self.log)),
            ("journalctl", "#!/bin/sh\necho last line\n"),
        ):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (folder / "state").mkdir()
        self.settings = folder / "settings.yml"
        self.current = folder / "current"

    def install(self, version: str, settings: str) -> None:
        (self.folder / "versions" / version).mkdir(exist_ok=True, parents=True)
        self.current.unlink(missing_ok=True)
        self.current.symlink_to(self.folder / "versions" / version)
        self.settings.write_text(settings)

    @property
    def ready(self) -> bool:
        return self.current.resolve().name.startswith("good")

    def actions(self) -> list[str]:
        """Return what the service was told to do since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        verbs = [line.split()[0] for line in lines]
        return [verb for verb in verbs if verb in ("restart", "reload", "start", "stop", "enable")]

    def activate(self, *options: str, **variables: Any) -> Run:
        given = {
            "daemon_service": "example",
            "daemon_title": "The example",
            "daemon_files": {"settings": str(self.settings)},
            "daemon_current": str(self.current),
            "daemon_state_file": str(self.folder / "state/running.json"),
            "daemon_kept_files": [{"name": "settings", "group": "root", "mode": "0644"}],
            "daemon_ready_url": f"http://127.0.0.1:{self.port}/readyz",
            "daemon_ready_timeout": 3,
            **variables,
        }
        return self.play("activate", *options, **given)

    def play(self, entry: str, *options: str, **given: Any) -> Run:
        """Run an entry point of the role."""
        path = f"{self.folder}/bin:{{{{ lookup('ansible.builtin.env', 'PATH') }}}}"
        return Ansible(self.version, self.folder / "ansible").play(
            [{"ansible.builtin.include_role": {"name": "fedcloud.oscar.daemon", "tasks_from": entry}, "vars": given}],
            *options,
            environment={"PATH": path},
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"parts": {"ledger": {"ok": made.ready}, "store": {"ok": True}}}).encode()
            self.send_response(200 if made.ready else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Host(tmp_path, server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def test_a_service_is_restarted_when_what_it_reads_has_changed(host: Host) -> None:
    host.install("good-1", "a: 1\n")
    assert (run := host.activate()).code == 0, run.output
    assert "restart" in host.actions()
    assert (run := host.activate()).code == 0, run.output
    assert "restart" not in host.actions()
    assert not [task.name for task in run.tasks if task.changed]
    host.install("good-1", "a: 2\n")
    assert (run := host.activate("--check", "--diff")).code == 0, run.output
    assert "restart" not in host.actions()
    assert host.activate().code == 0
    assert "restart" in host.actions()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_previous_version_comes_back_when_the_new_one_is_not_ready(host: Host, version: str) -> None:
    host.version = version
    host.install("good-1", "a: 1\n")
    assert (run := host.activate()).code == 0, run.output
    host.install("bad-2", "a: 2\n")
    run = host.activate()
    assert run.code != 0
    assert "The example did not become ready within 3 s with bad-2 (not ready: ledger)." in run.output
    assert "The previous version runs again (good-1)." in run.output
    assert "last line" in run.output
    assert (host.current.resolve().name, host.settings.read_text()) == ("good-1", "a: 1\n")
    host.actions()
    assert host.activate().code == 0, "nothing is left to do"
    assert "restart" not in host.actions()


def test_without_a_previous_version_the_failure_says_so(host: Host) -> None:
    host.install("bad-1", "a: 1\n")
    run = host.activate()
    assert run.code != 0
    assert "There is nothing to roll back to" in run.output
    assert not (host.folder / "state/running.json").exists(), "the next run restarts it again"


def test_a_rollback_can_be_asked_for(host: Host) -> None:
    host.install("good-1", "a: 1\n")
    assert host.activate().code == 0
    host.install("good-2", "a: 2\n")
    run = host.play(
        "rollback",
        daemon_service="example",
        daemon_files={"settings": str(host.settings)},
        daemon_current=str(host.current),
        daemon_state_file=str(host.folder / "state/running.json"),
        daemon_kept_files=[{"name": "settings", "group": "root", "mode": "0644"}],
        daemon_ready_url=f"http://127.0.0.1:{host.port}/readyz",
    )
    assert run.code == 0, run.output
    assert (host.current.resolve().name, host.settings.read_text()) == ("good-1", "a: 1\n")


def test_a_reload_is_enough_for_some_files(host: Host) -> None:
    """A service of the distribution has no version of its own and no URL; systemd says whether it went well."""
    plain = {"daemon_current": "", "daemon_ready_url": "", "daemon_kept_files": []}
    files = {"settings": str(host.settings), "unit": str(host.folder / "unit")}
    (host.folder / "unit").write_text("1")
    host.install("good-1", "a: 1\n")
    options = {**plain, "daemon_files": files, "daemon_reloadable_files": ["settings"]}
    assert (run := host.activate(**options)).code == 0, run.output
    assert "restart" in host.actions(), "the first time"
    host.settings.write_text("a: 2\n")
    assert host.activate(**options).code == 0
    done = host.actions()
    assert "reload" in done
    assert "restart" not in done
    (host.folder / "unit").write_text("2")
    assert host.activate(**options).code == 0
    assert "restart" in host.actions()


def test_only_the_newest_versions_are_kept(host: Host) -> None:
    for version in ("good-1", "good-2", "good-3"):
        host.install(version, "")
    run = host.play("prune", daemon_current=str(host.current), daemon_keep=1)
    assert run.code == 0, run.output
    assert [path.name for path in host.folder.glob("versions/*")] == ["good-3"]


def test_a_binary_is_taken_out_of_its_archive_once(host: Host) -> None:
    (host.folder / "server").write_text("#!/bin/sh\necho hello\n")
    (host.folder / "server").chmod(0o755)
    archive = host.folder / "server.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(host.folder / "server", "server")
    given = {
        "daemon_program": "example",
        "daemon_home": str(host.folder / "home"),
        "daemon_url": archive.as_uri(),
        "daemon_checksum": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "daemon_archive_member": "server",
    }
    assert (run := host.play("binary", **given)).code == 0, run.output
    assert subprocess.check_output([host.folder / "home/current/bin/example"], text=True) == "hello\n"
    assert [path.name for path in (host.folder / "home/current/").iterdir()] == ["bin"]
    run = host.play("binary", **given)
    assert not [task.name for task in run.tasks if task.changed]
    assert host.play("binary", **{**given, "daemon_checksum": "0" * 64}).code != 0
