# SPDX-License-Identifier: Apache-2.0
"""The catalogue's store in a real cluster, step by step: conflicts, writes that break off, what is left to be found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from parts.kube import NAMESPACE, RBAC, KubeServer

from oscar_fedcloud.catalogue.entries import Entry, InputState, RepositoryError
from oscar_fedcloud.catalogue.kubernetes.repository import KubernetesRepository
from oscar_fedcloud.domain.services import Conflict
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import parse_service, to_document
from oscar_fedcloud.kube import KubeClient, KubeUnavailable

CRD = RBAC.with_name("crd.yaml")
PATH = f"/apis/oscar.fedcloud.eu/v1/namespaces/{NAMESPACE}/oscarservices"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with KubeServer(tmp_path_factory.mktemp("kube")) as server:
        server.apply(CRD)
        server.invoker_kubeconfig()
        yield server


@pytest.fixture
def http(kube: KubeServer) -> Iterator[httpx.Client]:
    with kube.client() as client:
        yield client


async def open_store(kube: KubeServer) -> KubernetesRepository:
    made = KubernetesRepository(KubeClient(str(kube.folder / "invoker.conf")), NAMESPACE, 3)
    await made.open()
    return made


@pytest.fixture
async def store(kube: KubeServer, http: httpx.Client) -> AsyncIterator[KubernetesRepository]:
    delete(http, PATH)
    delete(http, SECRETS)
    made = await open_store(kube)
    yield made
    await made.close()


def entry(name: str, revision: int = 1, **fields: Any) -> Entry:
    document = {"name": name, "image": "i", "script": "true", "token": "ab" * 32, **fields}
    now = time.time()
    document = to_document(parse_service(document))
    return Entry(name=name, revision=revision, created=now, changed=now, document=document)


async def write(store: KubernetesRepository, *entries: Entry, removed: tuple[str, ...] = ()) -> dict[str, Exception]:
    return await asyncio.to_thread(store.write, entries, removed)


async def load(kube: KubeServer) -> list[Entry]:
    """What another daemon would find."""
    again = await open_store(kube)
    try:
        return await asyncio.to_thread(again.load)
    finally:
        await again.close()


def make(http: httpx.Client, name: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": "oscar.fedcloud.eu/v1", "kind": "OscarService", "metadata": {"name": name}, "spec": spec}
    http.post(PATH, json=body).raise_for_status()


def edit(http: httpx.Client, name: str, body: dict[str, Any], path: str = PATH) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    http.patch(f"{path}/{name}", json=body, headers=headers).raise_for_status()


def delete(http: httpx.Client, path: str) -> None:
    http.delete(path).raise_for_status()


def missing(http: httpx.Client, path: str) -> bool:
    return http.get(path).status_code == 404


def shown(http: httpx.Client, name: str, path: str = PATH) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"{path}/{name}").raise_for_status().json()
    return found


async def test_what_is_written_is_found(store: KubernetesRepository, kube: KubeServer) -> None:
    secret = {"environment": {"secrets": {"PASSWORD": "sesame"}}}
    assert await write(store, entry("a", **secret), entry("b")) == {}
    await asyncio.to_thread(store.save_keys, "a", {"minio.default": Credential("access", "key")})
    found = await load(kube)
    assert [one.name for one in found] == ["a", "b"]
    assert found[0].document == entry("a", **secret).document
    again = await open_store(kube)
    await asyncio.to_thread(again.load)
    assert again.keys("a") == {"minio.default": Credential("access", "key")}
    await again.close()


async def test_a_change_of_others_is_never_overwritten(store: KubernetesRepository, http: httpx.Client) -> None:
    await write(store, entry("a"), entry("b"), entry("c"))
    for name in ("a", "b"):
        edit(http, name, {"spec": {"timeout": 7}})
    failures = await write(store, entry("a", 2, memory="1Gi"), entry("c", 2, memory="1Gi"), removed=("b",))
    assert {name: type(error) for name, error in failures.items()} == {"a": Conflict, "b": Conflict}
    assert shown(http, "a")["spec"] == {"image": "i", "script": "true", "timeout": 7}
    assert shown(http, "b")["spec"]["timeout"] == 7
    assert shown(http, "c")["spec"]["memory"] == "1Gi"  # the others are done
    assert "revision-2" not in shown(http, "a.catalogue", SECRETS)["data"]


async def test_what_others_have_made_meanwhile_is_a_conflict(store: KubernetesRepository, http: httpx.Client) -> None:
    make(http, "a", {"image": "theirs", "script": "x"})
    failures = await write(store, entry("a"))
    assert isinstance(failures["a"], Conflict)
    assert shown(http, "a")["spec"]["image"] == "theirs"


async def test_what_others_have_deleted_meanwhile_is_a_conflict(
    store: KubernetesRepository, http: httpx.Client
) -> None:
    await write(store, entry("a"))
    delete(http, f"{PATH}/a")
    failures = await write(store, entry("a", 2, memory="1Gi"))
    assert isinstance(failures["a"], Conflict)
    assert missing(http, f"{PATH}/a")


async def test_labels_of_others_are_no_conflict(store: KubernetesRepository, http: httpx.Client) -> None:
    await write(store, entry("a"), entry("b"))
    for name in ("a", "b"):
        edit(http, name, {"metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}}})
    assert await write(store, entry("a", 2, memory="1Gi"), removed=("b",)) == {}
    assert shown(http, "a")["metadata"]["labels"] == {"team": "x"}
    assert shown(http, "a")["metadata"]["annotations"] == {"note": "y"}
    assert missing(http, f"{PATH}/b")


async def test_a_secret_alone_is_a_new_revision_too(
    store: KubernetesRepository, kube: KubeServer, http: httpx.Client
) -> None:
    await write(store, entry("a", environment={"secrets": {"P": "one"}}))
    before = shown(http, "a")["metadata"]["generation"]
    assert await write(store, entry("a", 2, environment={"secrets": {"P": "two"}})) == {}
    assert shown(http, "a")["metadata"]["generation"] == before
    (found,) = await load(kube)
    assert (found.revision, found.document["environment"]["secrets"]) == (2, {"P": "two"})
    assert [one.revision for one in await asyncio.to_thread(store.history, "a")] == [1]


@pytest.mark.parametrize("step", ["_put", "_patch_status"])
async def test_a_write_that_breaks_off_is_done_or_not_done(
    store: KubernetesRepository, kube: KubeServer, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await write(store, entry("a", environment={"secrets": {"P": "one"}}))

    async def breaks(*_: object) -> None:
        raise KubeUnavailable(0, "NoAnswer", "the line is dead")

    monkeypatch.setattr(store.objects, step, breaks)
    second = entry("a", 2, memory="1Gi", environment={"secrets": {"P": "two"}})
    failures = await write(store, second)
    assert isinstance(failures["a"], RepositoryError)
    (found,) = await load(kube)
    assert (found.revision, found.document["environment"]["secrets"]) == (1, {"P": "one"})
    done = "memory" in shown(http, "a")["spec"]
    assert done == (
        step == "_patch_status"
    )  # then the object differs, and is taken over with the secrets of revision 2
    record = await store.objects.record("a")
    assert record is not None
    kept = record.entry(2)
    assert kept is not None
    assert kept.document == second.document
    metadata = shown(http, "a")["metadata"]
    assert store.objects.knows(metadata["uid"], metadata["generation"], "a") != done  # what differs is taken over


async def test_what_was_not_taken_over_to_the_end_is_taken_over_again(
    store: KubernetesRepository, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, entry("a"))
    second = entry("a", 2, environment={"secrets": {"P": "plain"}})
    edit(http, "a", {"spec": {"environment": {"secrets": {"P": "plain"}}}})

    async def breaks(*_: object) -> None:
        raise KubeUnavailable(0, "NoAnswer", "the line is dead")

    monkeypatch.setattr(store.objects, "_patch_status", breaks)
    with pytest.raises(KubeUnavailable):
        await store.objects.accept(second, shown(http, "a"))
    found = shown(http, "a")
    assert found["spec"]["environment"]["secrets"] == {"P": "hidden"}
    assert not store.objects.knows(found["metadata"]["uid"], found["metadata"]["generation"], "a")
    monkeypatch.undo()
    await store.objects.accept(second, found)
    assert store.objects.knows(found["metadata"]["uid"], found["metadata"]["generation"], "a")


async def test_secrets_are_hidden_even_if_the_status_changes_meanwhile(
    store: KubernetesRepository, http: httpx.Client
) -> None:
    await write(store, entry("a"))
    second = entry("a", 2, environment={"secrets": {"P": "plain"}})
    edit(http, "a", {"spec": {"environment": {"secrets": {"P": "plain"}}}})
    found = shown(http, "a")
    await store.objects.report("a", entry("a"), "ready", "", "")
    edit(http, "a", {"metadata": {"labels": {"team": "x"}}})
    await store.objects.accept(second, found)
    found = shown(http, "a")
    assert found["spec"]["environment"]["secrets"] == {"P": "hidden"}
    assert found["metadata"]["labels"] == {"team": "x"}
    assert store.objects.knows(found["metadata"]["uid"], found["metadata"]["generation"], "a")


async def test_secrets_of_a_newer_document_wait_for_the_next_look(
    store: KubernetesRepository, http: httpx.Client
) -> None:
    await write(store, entry("a"))
    second = entry("a", 2, environment={"secrets": {"P": "plain"}})
    edit(http, "a", {"spec": {"environment": {"secrets": {"P": "plain"}}}})
    found = shown(http, "a")
    edit(http, "a", {"spec": {"timeout": 5}})
    await store.objects.accept(second, found)
    found = shown(http, "a")
    assert found["spec"]["timeout"] == 5
    assert not store.objects.knows(found["metadata"]["uid"], found["metadata"]["generation"], "a")


async def test_inputs_are_kept_in_the_status(store: KubernetesRepository, kube: KubeServer) -> None:
    source = "minio.default/data/in/"
    made = entry("a", input=[{"storage_provider": "minio", "path": "data/in"}])
    made.inputs[source] = InputState(5.0)
    await write(store, made)
    made.inputs[source] = InputState(5.0, baselined=True)
    await store.objects.report("a", made, "ready", "", "")
    (found,) = await load(kube)
    assert found.inputs == {source: InputState(5.0, baselined=True)}


async def test_a_report_never_says_which_revision_counts(store: KubernetesRepository, http: httpx.Client) -> None:
    await write(store, entry("a"))
    await store.objects.report("a", entry("a", 9), "ready", "", "")
    status = shown(http, "a")["status"]
    assert (status["revision"], status["state"]) == (1, "ready")


async def test_a_secret_that_somebody_deleted_is_made_again(
    store: KubernetesRepository, kube: KubeServer, http: httpx.Client
) -> None:
    await write(store, entry("a"))
    await asyncio.to_thread(store.save_keys, "a", {"minio.default": Credential("access", "key")})
    delete(http, f"{SECRETS}/a.catalogue")
    assert await write(store, entry("a", 2, memory="1Gi")) == {}
    (found,) = await load(kube)
    assert (found.revision, found.document["memory"]) == (2, "1Gi")
    record = await store.objects.record("a")
    assert record is not None
    assert record.keys == {"minio.default": Credential("access", "key")}


async def test_a_secret_that_makes_no_sense_stops_nobody(
    store: KubernetesRepository, kube: KubeServer, http: httpx.Client
) -> None:
    await write(store, entry("a"), entry("b"))
    edit(http, "a.catalogue", {"data": {"revision-1": "AAAA"}}, SECRETS)
    assert [one.name for one in await load(kube)] == ["b"]


async def test_a_service_whose_object_is_gone_is_still_found(
    store: KubernetesRepository, kube: KubeServer, http: httpx.Client
) -> None:
    """So that its jobs, rules and keys can be removed."""
    await write(store, entry("a"))
    delete(http, f"{PATH}/a")
    assert [one.name for one in await load(kube)] == ["a"]


async def test_a_long_script_passes(store: KubernetesRepository, kube: KubeServer) -> None:
    long = "".join(f"echo {number}\n" for number in range(60_000))
    for revision in range(1, 7):
        assert await write(store, entry("a", revision, script=f"# {revision}\n{long}")) == {}
    (found,) = await load(kube)
    assert (found.revision, len(found.document["script"])) == (6, len(long) + 4)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_document_that_is_too_large_is_refused(
    store: KubernetesRepository, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, entry("a"))
    monkeypatch.setattr("oscar_fedcloud.fdl.rules.LARGEST_ENVIRONMENT", 10**9)
    variables = {f"N{number}": "é" * 1000 for number in range(1500)}
    failures = await write(store, entry("a", 2, environment={"variables": variables}))
    assert isinstance(failures["a"], RepositoryError)
    assert shown(http, "a")["status"]["revision"] == 1


async def test_a_cluster_without_the_definition_is_told_plainly(
    kube: KubeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oscar_fedcloud.catalogue.kubernetes.repository._START_TRIES", 1)
    store = KubernetesRepository(KubeClient(str(kube.folder / "invoker.conf")), "elsewhere", 3)
    with pytest.raises(RepositoryError, match=r"the catalogue in Kubernetes cannot be read: .*forbidden"):
        await store.open()
    await store.close()
