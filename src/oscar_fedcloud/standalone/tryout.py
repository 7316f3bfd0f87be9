# SPDX-License-Identifier: Apache-2.0
"""``oscar-fedcloud try``: one file through one service, with the server's runner and launcher on a temporary store.

Every storage provider that the service names is replaced by the temporary store, so nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from oscar_fedcloud.catalogue.matching import Matcher
from oscar_fedcloud.config import LauncherConfig, ProviderConfig
from oscar_fedcloud.dispatch.specs import job_spec
from oscar_fedcloud.domain.events import EventOutcome, Origin, StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, run_id
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.launchers.port import JobSpec, LaunchError
from oscar_fedcloud.launchers.registry import make_process_launcher
from oscar_fedcloud.launchers.runner.environment import RunnerSettings, remote_name, stores_of_run
from oscar_fedcloud.standalone.embedded_store import (
    EmbeddedStore,
    EmbeddedStoreError,
    find_rclone,
    free_port,
    is_listening,
    job_path,
)
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.registry import make_provider

BODY_BUCKET = "oscar-internal"  # where the input of a service without inputs is stored
STAGING_TIMEOUT = 60.0  # s


class TryError(Exception):
    """The file cannot be run through the service; the message says why."""


def try_file(service: Service, sample: Path, output: Path | None, keep: bool) -> int:
    """Run a file through a service, print its log and the places of its outputs; return the script's exit code.

    Raises TryError, EmbeddedStoreError.

    Args:
        output: the folder for the outputs, as BUCKET/KEY; None creates a temporary one.
        keep: keep the store and the job's folder there.
    """
    work = Path(tempfile.mkdtemp(prefix="oscar-try-"))
    try:
        with _serving(work / "store") as store:
            provider = make_provider(_provider_id(service), _provider_config(store))
            event = _put(provider, service, sample, store.folder)
            completion, log = asyncio.run(_run(_spec(service, event, provider, store), work / "jobs", store))
        sys.stdout.write(log.decode("utf-8", "replace"))
        return _report(completion, _collect(store.folder, event, output or work / "outputs"))
    finally:
        if keep:
            print(f"The store and the job's folder: {work}")
        else:
            _remove_all_but_outputs(work)


def _remove_all_but_outputs(work: Path) -> None:
    for entry in work.iterdir():
        if entry.name != "outputs":
            shutil.rmtree(entry)
    if not any(work.iterdir()):
        work.rmdir()


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[EmbeddedStore]:
    """Run a private store on a free port, with random keys."""
    folder.mkdir()
    store = EmbeddedStore(find_rclone(), folder, free_port(), secrets.token_hex(8), secrets.token_hex(16))
    with subprocess.Popen(
        store.command(), env=store.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as server:
        try:
            while not is_listening(store.port):
                if server.poll() is not None:
                    raise EmbeddedStoreError(
                        f"rclone serve s3 ended: {(server.communicate()[1] or b'').decode().strip()}"
                    )
                time.sleep(0.02)
            yield store
        finally:
            server.terminate()


def _provider_id(service: Service) -> str:
    return service.input[0].storage_provider if service.input else "minio.default"


def _provider_config(store: EmbeddedStore) -> ProviderConfig:
    return ProviderConfig(
        type="folder",
        endpoint=store.endpoint,
        access_key=store.access_key,
        secret_key=store.secret_key,
        root=str(store.folder),
    )


def _put(provider: ObjectStore, service: Service, sample: Path, root: Path) -> StorageEvent:
    """Store the file where the service expects its input, and return its event. Raises TryError."""
    bucket = service.input[0].bucket if service.input else BODY_BUCKET
    key = (service.input[0].key_prefix if service.input else "") + sample.name
    for name in {bucket, *(output.bucket for output in service.output)}:
        (root / name).mkdir(exist_ok=True)
    target = root / bucket / key
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sample, target)
    event = provider.stat(bucket, key)
    if event is None:
        raise TryError(f"{sample.name} did not arrive in the temporary store as {bucket}/{key}")
    if not service.input:
        return replace(event, via=Origin.HTTP)
    recording = Matcher([service], max_depth=0).recording(event)
    if recording.outcome is not EventOutcome.MATCHED:
        raise TryError(f"{bucket}/{key} would not start the service: {recording.detail or recording.outcome}")
    return event


def _spec(service: Service, event: StorageEvent, provider: ObjectStore, store: EmbeddedStore) -> JobSpec:
    now = time.time()
    identity = run_id(service.name, event)
    run = Run(identity, service.name, event, RunState.RUNNING, "", 0, 0, 0, now, now, None)
    settings = RunnerSettings(rclone=str(store.rclone), staging_timeout=STAGING_TIMEOUT, node="localhost")
    credential = Credential(store.access_key, store.secret_key)
    needed = stores_of_run(service, run, settings)
    stores = {name: provider.rclone_env(remote_name(name), credential) for name in needed}
    return job_spec(service, "1", run, 1, settings, stores)


async def _run(spec: JobSpec, folder: Path, store: EmbeddedStore) -> tuple[Completion, bytes]:
    config = LauncherConfig(rclone=str(store.rclone), path=job_path(), max_running=1, staging_timeout=STAGING_TIMEOUT)
    launcher = make_process_launcher(folder, config)
    try:
        await launcher.start(spec)
        completion = await anext(launcher.completions())
        log = launcher.log(spec.job)
        return completion, b"".join(log.chunks) if log else b""
    except LaunchError as error:
        raise TryError(str(error)) from error
    finally:
        await launcher.close()


def _collect(root: Path, event: StorageEvent, output: Path) -> list[Path]:
    """Copy all objects of the store except the input; return the copies."""
    found = []
    for file in sorted(root.rglob("*")):
        if file.is_file() and file != root / event.bucket / event.key:
            target = output / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            found.append(target)
    return found


def _report(completion: Completion, found: list[Path]) -> int:
    for file in found:
        print(f"output: {file}")
    if completion.state is AttemptState.SUCCEEDED:
        if not found:
            print("The script succeeded and left nothing that an output rule takes.")
        return 0
    print(f"The job ended {completion.state}: {completion.reason}", file=sys.stderr)
    return completion.exit_code or 1
