# SPDX-License-Identifier: Apache-2.0
"""Tenants of a site: one that works, whose scripts keep a journal, and hostile ones, which attack what runs them."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import urllib3
from minio.error import MinioException
from parts.daemon import Daemon
from parts.minio import MinioServer
from parts.site import file_service

_JOURNAL_SCRIPT = """\
sum=$(md5sum < "$INPUT_FILE_PATH")
printf 'start %s %s\\n' "${sum%% *}" "$JOB_UUID" >> "$JOURNAL"
cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"
sleep 0.05
printf 'end %s %s\\n' "${sum%% *}" "$JOB_UUID" >> "$JOURNAL"
"""

# Nothing that these do may reach beyond their own jobs.
HOSTILE_SCRIPTS = {
    "exit-number": 'for f in "$TMPDIR"/../out/result "$TMPDIR"/../result "$TMPDIR"/*/result; do\n'
    "printf 'phase=script\\nexit=99999999999999999999\\n' > \"$f\"; done 2>/dev/null; exit 3",
    "result-pipe": 'r="$(dirname "$TMPDIR")/out/result"; rm -f "$r"; mkfifo "$r"; exit 0',
    "result-flood": 'head -c 20000000 /dev/zero > "$(dirname "$TMPDIR")/out/result"; exit 4',
    "status-file": 'printf "{]" > "$(dirname "$TMPDIR")/status"; exit 5',
    "link-loop": 'cd "$TMP_OUTPUT_DIR" && ln -s . a && ln -s . b',
    "no-outputs": 'rm -rf "$TMP_OUTPUT_DIR"',
    "no-folder": 'rm -rf "$TMPDIR"/*',
    "log-flood": "yes $(printf '\\001\\033[31m') | head -c 30000000",
    "kills-group": "kill -9 0",
    "kills-parent": "kill -9 $PPID; sleep 1",
    "many-outputs": 'i=0; while [ $i -lt 600 ]; do : > "$TMP_OUTPUT_DIR/$i"; i=$((i + 1)); done',
    "odd-names": 'cd "$TMP_OUTPUT_DIR" && touch "$(printf \'latin-\\351\')" "new\nline" " " "a%b" -- "-rf"',
    "summary": 'head -c 5000 /dev/urandom > "$TMP_OUTPUT_DIR/.summary"',
    "leaves-children": "(trap '' TERM; sleep 300) & (sleep 300) & exit 0",
    "unreadable": 'cd "$TMP_OUTPUT_DIR" && mkdir d && touch d/f && chmod 0 d .',
}


class Tenant:
    """A service that copies files, its user, and the journal that its scripts write."""

    name = "steady"

    def __init__(self, folder: Path, minio: MinioServer) -> None:
        self.journal = folder / "journal"
        self.journal.touch()
        self.newest: dict[str, str] = {}  # key -> MD5 of the content that the store acknowledged last
        self.acknowledged: dict[str, tuple[str, float]] = {}  # MD5 -> key, and when the store said yes
        self._minio = minio
        self._client = httpx.Client(base_url=minio.endpoint, timeout=10, verify=False)

    def close(self) -> None:
        """Close the connections of its user."""
        self._client.close()

    def service(self) -> dict[str, Any]:
        """Return the service's document."""
        retry = {"attempts": 20, "backoff": 1, "backoff_max": 5, "infrastructure": 50}
        variables = {"JOURNAL": str(self.journal)}
        return file_service(self.name, _JOURNAL_SCRIPT, environment={"variables": variables}, retry=retry)

    def open_bucket(self) -> None:
        """Let anybody upload: what is not signed bears no date, so that a store with another clock takes it, too."""
        put = {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{self.name}/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [put]})
        self._minio.client().set_bucket_policy(self.name, policy)

    def upload(self, key: str, patience: float = 60.0) -> str:
        """Store new content under a key, again until the store says yes; return its MD5."""
        body = f"{key} {time.time_ns()}".encode()
        _persistently(lambda: self._put(key, body), patience)
        md5 = hashlib.md5(body).hexdigest()
        self.newest[key] = md5
        self.acknowledged[md5] = (key, time.monotonic())
        return md5

    def _put(self, key: str, body: bytes) -> None:
        self._client.put(f"/{self.name}/{key}", content=body).raise_for_status()

    def forget_rules(self) -> None:
        """Remove the notification rules of the bucket, as a careless administrator does."""
        _persistently(lambda: self._minio.client().delete_bucket_notification(self.name), 60)

    def marks(self, word: str) -> Counter[str]:
        """Count how often a script did this (``start``, ``end``), by the MD5 of its input."""
        lines = (line.split(" ") for line in self.journal.read_text(encoding="ascii").splitlines())
        return Counter(fields[1] for fields in lines if fields[0] == word)

    def unfinished(self) -> dict[str, str]:
        """Return the newest uploads that no script has finished: key -> MD5."""
        ended = self.marks("end")
        return {key: md5 for key, md5 in self.newest.items() if not ended[md5]}


class HostileTenants:
    """One service for each hostile script, and floods of requests with their tokens."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.names = [f"evil-{name}" for name in HOSTILE_SCRIPTS]
        self._turn = itertools.cycle(self.names)

    def services(self) -> Iterator[dict[str, Any]]:
        """Yield their documents."""
        for name, script in HOSTILE_SCRIPTS.items():
            retry = {"attempts": 1, "infrastructure": 1}
            yield file_service(f"evil-{name}", script, timeout=20, retry=retry, input=[])

    def attack(self, count: int = 5) -> None:
        """Start the next few hostile scripts, and flood the server. Any answer is right, but there must be one."""
        names = list(itertools.islice(self._turn, count))
        with self.daemon.client(timeout=60) as client, ThreadPoolExecutor(8) as pool:
            calls = [*(self._job(client, name, b"x") for name in names), *self._flood(client)]
            for answer in pool.map(lambda call: call(), calls):
                assert answer is None or answer.status_code < 600

    def _job(self, client: httpx.Client, name: str, body: bytes, **headers: str) -> Callable[[], httpx.Response | None]:
        def call() -> httpx.Response | None:
            try:
                return client.post(f"/v2/services/{name}/jobs", content=body, headers=headers)
            except httpx.TransportError:  # the daemon is away: part of the chaos
                return None

        return call

    def _flood(self, client: httpx.Client) -> Iterator[Callable[[], httpx.Response | None]]:
        deep = b"[" * 20_000 + b"]" * 20_000
        record = {"eventSource": "minio:s3", "s3": {"bucket": {"name": "steady"}, "object": {"key": "in%2Fforged"}}}
        record["s3"]["object"] |= {"sequencer": "7FFFFFFFFFFFFFFF", "size": 10**30, "eTag": "\ud800"}
        for body in (
            deep,
            json.dumps({"Records": [record]}).encode(),
            b'{"Records": "' + b"x" * 200_000 + b'"}',
            b"\0",
        ):
            yield self._job(client, self.names[0], body)
            yield self._job(client, self.names[0], body, **{"Idempotency-Key": "same"})


def _persistently(call: Callable[[], object], patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            call()
            return
        except (httpx.HTTPError, MinioException, urllib3.exceptions.HTTPError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
