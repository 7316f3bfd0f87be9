# SPDX-License-Identifier: Apache-2.0
"""Services as Kubernetes objects: declared by the API and by kubectl, against a real API server."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from parts import daemon as parts_daemon
from parts.daemon import Daemon
from parts.kube import NAMESPACE, KubeServer, kube_binary
from parts.site import Site, file_service, make_site

CRD = Path(__file__).parents[2] / "roles" / "invoker" / "files" / "kubernetes" / "crd.yaml"
PATH = f"/apis/oscar.fedcloud.eu/v1/namespaces/{NAMESPACE}/oscarservices"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
LONG = 120  # s; a whole control plane shares the machine with the invoker
COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR"'


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with KubeServer(tmp_path_factory.mktemp("kube")) as server:
        server.apply(CRD)
        yield server


@pytest.fixture(scope="module")
def site(kube: KubeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    catalogue = {"type": "kubernetes", "kubeconfig": str(kube.invoker_kubeconfig()), "revisions": 3}
    site = make_site(tmp_path_factory.mktemp("site"), catalogue=catalogue)
    with site.minio:
        site.daemon.start(LONG)
        try:
            yield site
        finally:
            site.daemon.stop()


@pytest.fixture(scope="module")
def daemon(site: Site) -> Daemon:
    return site.daemon


def eventually(probe: Any) -> Any:
    return parts_daemon.eventually(probe, LONG)


class Kubectl:
    """What a person does with kubectl, and plain requests where the whole answer matters."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.http = kube.client()

    def __call__(self, *arguments: str, document: dict[str, Any] | None = None, check: bool = True) -> str:
        command = [str(kube_binary("kubectl")), f"--kubeconfig={self.kube.kubeconfig}", f"--namespace={NAMESPACE}"]
        done = subprocess.run(
            [*command, *arguments], input=yaml.safe_dump(document), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, name: str, **spec: Any) -> str:
        return self("apply", "--filename=-", document=manifest(name, **spec))

    def get(self, name: str) -> dict[str, Any]:
        answer = self.http.get(f"{PATH}/{name}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def secret(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{SECRETS}/{name}.catalogue").raise_for_status().json()
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = {one["type"]: one for one in self.get(name).get("status", {}).get("conditions", ())}
        return found.get(kind, {})

    def wait(self, name: str, condition: str) -> None:
        self("wait", f"--for=condition={condition}", f"oscarservice/{name}", f"--timeout={LONG}s")


@pytest.fixture
def kubectl(kube: KubeServer) -> Iterator[Kubectl]:
    made = Kubectl(kube)
    with made.http:
        yield made


def manifest(name: str, **spec: Any) -> dict[str, Any]:
    document = {**file_service(name, COPY), **spec}
    del document["name"]
    return {
        "apiVersion": "oscar.fedcloud.eu/v1",
        "kind": "OscarService",
        "metadata": {"name": name},
        "spec": document,
    }


def show(daemon: Daemon, name: str) -> dict[str, Any] | None:
    with daemon.client() as client:
        answer = client.get(f"/v2/services/{name}")
        return answer.json() if answer.status_code == 200 else None


def revision(daemon: Daemon, name: str) -> str:
    found = show(daemon, name)
    return found["revision"] if found else ""


def upload(site: Site, bucket: str, key: str, body: bytes = b"x") -> None:
    site.minio.client().put_object(bucket, key, BytesIO(body), len(body))


def test_a_service_declared_by_the_api_is_an_object(daemon: Daemon, kubectl: Kubectl) -> None:
    daemon.apply(file_service("api", COPY, memory="1Gi"))
    daemon.wait_ready("api")
    kubectl.wait("api", "Ready")
    found = kubectl.get("api")
    assert found["spec"] == {
        "memory": "1Gi",
        "image": "none",
        "input": [{"storage_provider": "minio.default", "path": "api/in"}],
        "output": [{"storage_provider": "minio.default", "path": "api/out"}],
        "script": COPY,
        "owner": "cluster_admin",
    }
    status = found["status"]
    assert (status["state"], status["revision"], status["observedGeneration"]) == ("ready", 1, 1)
    assert [one["source"] for one in status["inputs"]] == ["minio.default/api/in/"]
    columns = kubectl("get", "oscarservices").splitlines()
    assert columns[0].split() == ["NAME", "IMAGE", "READY", "STATE", "REVISION", "AGE"]
    assert "api    none    True    ready   1" in columns[1]


def test_a_service_declared_by_kubectl_processes_files(site: Site, daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("plain")
    kubectl.wait("plain", "Ready")
    upload(site, "plain", "in/a.txt")
    daemon.wait_jobs(1, service="plain")
    assert site.minio.client().stat_object("plain", "out/a.txt").size == 1
    assert show(daemon, "plain")["document"]["input"][0]["path"] == "plain/in"  # type: ignore[index]
    assert kubectl.get("plain")["spec"]["input"] == [{"storage_provider": "minio", "path": "plain/in"}]  # as written


def test_what_kubectl_applies_again_changes_nothing(daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("again")
    kubectl.wait("again", "Ready")
    kubectl.apply("again", timeout=0, memory="256Mi")  # other words for the same
    eventually(lambda: kubectl.get("again")["status"]["observedGeneration"] == 2)
    assert revision(daemon, "again") == "1"
    kubectl.apply("again", timeout="1m")
    eventually(lambda: revision(daemon, "again") == "2")
    eventually(lambda: kubectl.get("again")["status"]["revision"] == 2)


def test_both_ways_change_the_same_service(daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("both")
    kubectl.wait("both", "Ready")
    kubectl("label", "oscarservice/both", "team=a")
    plan = daemon.apply(file_service("both", COPY, memory="2Gi"))
    assert (plan["plan"][0]["action"], plan["plan"][0]["revision"]) == ("update", "2")
    found = kubectl.get("both")
    assert (found["spec"]["memory"], found["metadata"]["labels"]) == ("2Gi", {"team": "a"})
    kubectl("patch", "oscarservice/both", "--type=merge", '--patch={"spec":{"memory":"3Gi"}}')
    eventually(lambda: revision(daemon, "both") == "3")
    assert daemon.apply(file_service("both", COPY, memory="3Gi"))["changed"] is False


def test_an_invalid_document_leaves_the_last_good_revision_running(
    site: Site, daemon: Daemon, kubectl: Kubectl
) -> None:
    kubectl.apply("broken")
    kubectl.wait("broken", "Ready")
    kubectl.apply("broken", memory="2 GB", filter="((")
    kubectl.wait("broken", "Invalid")
    message = kubectl.condition("broken", "Invalid")["message"]
    assert "spec.memory: '2 GB' is not a memory quantity; did you mean 2G?" in message
    assert "spec.filter" in message
    assert kubectl.condition("broken", "Ready")["status"] == "True"
    assert kubectl("get", "oscarservice", "broken", "--no-headers").split()[2:5] == ["True", "invalid", "1"]
    upload(site, "broken", "in/b.txt")
    (job,) = daemon.wait_jobs(1, service="broken")
    assert job["state"] == "succeeded"
    assert "revision 1 runs on" in show(daemon, "broken")["status"]["reason"]  # type: ignore[index]
    kubectl.apply("broken")
    eventually(lambda: kubectl.condition("broken", "Invalid").get("status") == "False")
    assert (revision(daemon, "broken"), kubectl.get("broken")["status"]["state"]) == ("1", "ready")


def test_the_api_puts_an_invalid_document_right(daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("never", memory="much")
    kubectl.wait("never", "Invalid")
    assert show(daemon, "never") is None
    assert kubectl("get", "oscarservice", "never", "--no-headers").split()[2:5] == ["False", "invalid", "0"]
    assert daemon.apply(file_service("never", COPY))["plan"][0]["action"] == "create"
    eventually(lambda: kubectl.condition("never", "Invalid").get("status") == "False")
    kubectl.wait("never", "Ready")


def test_a_loop_ends_when_the_other_service_goes(daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("ping", input=[place("loop/a")], output=[place("loop/b")])
    kubectl.wait("ping", "Ready")
    kubectl.apply("pong", input=[place("loop/b")], output=[place("loop/a")])
    kubectl.wait("pong", "Invalid")
    assert "spec.output" in kubectl.condition("pong", "Invalid")["message"]
    kubectl("delete", "oscarservice", "ping")
    kubectl.wait("pong", "Ready")


def place(path: str) -> dict[str, str]:
    return {"storage_provider": "minio", "path": path}


def test_kubectl_refuses_a_misspelt_field_itself(kubectl: Kubectl) -> None:
    told = kubectl("apply", "--filename=-", document=manifest("typo", memmory="1Gi"), check=False)
    assert 'unknown field "spec.memmory"' in told
    told = kubectl("apply", "--filename=-", document=manifest("typo", enable_gpu="yes"), check=False)
    assert "spec.enable_gpu" in told
    assert "Memory limit of a job" in kubectl("explain", "oscarservice.spec.memory")


def test_secrets_never_stay_in_the_object(daemon: Daemon, kubectl: Kubectl) -> None:
    store = {"endpoint": "http://127.0.0.1:1", "access_key": "a", "secret_key": "sesame-2"}
    spec = {
        "environment": {"variables": {"N": 1}, "secrets": {"PASSWORD": "sesame-1"}},
        "storage_providers": {"minio": {"other": store}},
        "token": "5e5a3e" * 10 + "0000",
    }
    kubectl.apply("sesame", **spec)
    kubectl.wait("sesame", "Ready")
    shown = json.dumps(kubectl.get("sesame"))
    assert "sesame-1" not in shown
    assert "sesame-2" not in shown
    assert spec["token"] not in shown
    assert kubectl.get("sesame")["spec"]["environment"]["secrets"] == {"PASSWORD": "hidden"}
    assert secrets_of(daemon, "sesame") == {"PASSWORD": "hidden"}
    kubectl.apply("sesame", **spec)  # again with the secrets: the same document
    eventually(lambda: "sesame-1" not in json.dumps(kubectl.get("sesame")))
    assert revision(daemon, "sesame") == "1"
    kubectl("patch", "oscarservice/sesame", "--type=merge", '--patch={"spec":{"timeout":60}}')  # hidden stays as it is
    eventually(lambda: revision(daemon, "sesame") == "2")
    daemon.apply(file_service("sesame", COPY, **{**spec, "environment": {"secrets": {"PASSWORD": "sesame-3"}}}))
    assert revision(daemon, "sesame") == "3"
    assert "sesame" not in json.dumps(kubectl.get("sesame")).replace('"sesame', "").replace("/sesame", "")
    kept = json.dumps(decoded(kubectl.secret("sesame")))
    assert all(word in kept for word in ("sesame-1", "sesame-2", "sesame-3", spec["token"]))


def secrets_of(daemon: Daemon, name: str) -> dict[str, str]:
    found = show(daemon, name)
    assert found is not None
    secrets: dict[str, str] = found["document"]["environment"]["secrets"]
    return secrets


def decoded(secret: dict[str, Any]) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def test_secrets_of_a_refused_document_are_hidden_and_not_lost(daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("shy", memory="much", environment={"secrets": {"PASSWORD": "open-it"}})
    kubectl.wait("shy", "Invalid")
    assert "open-it" not in json.dumps(kubectl.get("shy"))
    kubectl("patch", "oscarservice/shy", "--type=merge", '--patch={"spec":{"memory":"1Gi"}}')
    kubectl.wait("shy", "Ready")
    kept = decoded(kubectl.secret("shy"))
    assert json.loads(kept["revision-1"])["document"]["environment"]["secrets"] == {"PASSWORD": "open-it"}
    assert "refused" not in kept


def test_two_writers_never_lose_an_update(site: Site, daemon: Daemon, kubectl: Kubectl) -> None:
    daemon.apply(file_service("race", COPY))
    daemon.wait_ready("race")
    kubectl.wait("race", "Ready")
    daemon.pause()  # the invoker does not hear of what follows before it gets the next request
    kubectl("patch", "oscarservice/race", "--type=merge", '--patch={"spec":{"timeout":77}}')
    with daemon.client() as client:
        request = client.build_request(
            "PUT", "/v2/services/race", json=file_service("race", COPY, memory="5Gi"), headers={"If-Match": '"1"'}
        )
        daemon.resume()
        answer = client.send(request)
        assert answer.status_code in (200, 412)
        eventually(lambda: client.get("/v2/services/race").json()["document"]["timeout"] == 77)
        if answer.status_code == 412:
            assert kubectl.get("race")["spec"].get("memory") is None
        stale = client.put("/v2/services/race", json=file_service("race", COPY), headers={"If-Match": '"1"'})
        assert stale.status_code == 412


def test_many_writers_by_both_ways_end_in_one_state(daemon: Daemon, kubectl: Kubectl) -> None:
    daemon.apply(file_service("many", COPY, concurrency=1))
    kubectl.wait("many", "Ready")
    done = {"api": 0, "kubectl": 0}
    with daemon.client() as client:
        for _ in range(20):
            found = kubectl.get("many")
            found["spec"]["concurrency"] = found["spec"].get("concurrency", 0) + 1
            first = kubectl.http.put(f"{PATH}/many", json=found)
            current = client.get("/v2/services/many")
            document = current.json()["document"]
            document["concurrency"] += 1
            second = client.put("/v2/services/many", json=document, headers={"If-Match": current.headers["etag"]})
            done["kubectl"] += first.status_code == 200
            done["api"] += second.status_code == 200
            assert first.status_code in (200, 409)
            assert second.status_code in (200, 412)

    def agree() -> bool:
        found = show(daemon, "many")
        total = 1 + sum(done.values())
        return bool(found) and found["document"]["concurrency"] == kubectl.get("many")["spec"]["concurrency"] == total

    eventually(agree)
    assert done["kubectl"] > 0


def test_an_object_that_is_deleted_takes_the_service_along(site: Site, daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("gone")
    kubectl.wait("gone", "Ready")
    kubectl("delete", "oscarservice", "gone")
    eventually(lambda: show(daemon, "gone") is None)
    eventually(lambda: kubectl.http.get(f"{SECRETS}/gone.catalogue").status_code == 404)
    eventually(lambda: not site.minio.client().get_bucket_notification("gone").queue_config_list)
    assert site.minio.client().bucket_exists("gone")  # data outlives services


def test_removing_by_the_api_removes_both_objects(daemon: Daemon, kubectl: Kubectl) -> None:
    daemon.apply(file_service("left", COPY))
    daemon.wait_ready("left")
    kubectl("annotate", "oscarservice/left", "note=1")
    daemon.remove("left")
    assert kubectl.http.get(f"{PATH}/left").status_code == 404
    assert kubectl.http.get(f"{SECRETS}/left.catalogue").status_code == 404


def test_rollback_goes_to_the_revision_before(daemon: Daemon, kubectl: Kubectl) -> None:
    for number in range(1, 7):
        daemon.apply(file_service("back", COPY, concurrency=number))
    with daemon.client() as client:
        shown = client.get("/v2/services/back/revisions").json()["revisions"]
        assert [one["revision"] for one in shown] == [6, 5, 4, 3]  # three earlier ones are kept
        assert client.post("/v2/services/back:rollback", json={}).json()["document"]["concurrency"] == 5
        assert client.post("/v2/services/back:rollback", json={"revision": 1}).status_code == 404
    assert (kubectl.get("back")["spec"]["concurrency"], revision(daemon, "back")) == (5, "7")


def test_a_restart_finds_everything_and_what_changed_meanwhile(
    site: Site, daemon: Daemon, kubectl: Kubectl, kube: KubeServer
) -> None:
    daemon.apply(*(file_service(name, COPY) for name in ("stays", "changes", "goes", "breaks")))
    daemon.wait_ready("stays", "changes", "goes", "breaks")
    for name in ("stays", "changes", "goes", "breaks"):
        kubectl.wait(name, "Ready")
    with daemon.client() as client:
        token = client.get("/system/services/stays").json()["token"]
    before = kubectl.get("stays")
    daemon.kill()
    kubectl("patch", "oscarservice/changes", "--type=merge", '--patch={"spec":{"concurrency":9}}')
    kubectl("patch", "oscarservice/breaks", "--type=merge", '--patch={"spec":{"cpu":"many"}}')
    kubectl("delete", "oscarservice", "goes")
    kubectl.apply("comes")
    upload(site, "stays", "in/while-away.txt")
    daemon.start(LONG)
    daemon.wait_ready("stays")
    with daemon.client() as client:
        assert client.get("/system/services/stays").json()["token"] == token
    eventually(lambda: show(daemon, "goes") is None)
    eventually(lambda: revision(daemon, "changes") == "2")
    kubectl.wait("comes", "Ready")
    kubectl.wait("breaks", "Invalid")
    assert (revision(daemon, "breaks"), kubectl.condition("breaks", "Ready")["status"]) == ("1", "True")
    daemon.wait_jobs(1, service="stays")
    assert kubectl.get("stays") == before  # not even its status was written
    eventually(lambda: not site.minio.client().get_bucket_notification("goes").queue_config_list)
    daemon.stop()
    daemon.start(LONG)
    assert show(daemon, "breaks")["document"]["cpu"] == "0.2"  # type: ignore[index]
    eventually(lambda: "is refused" in show(daemon, "breaks")["status"]["reason"])  # type: ignore[index]


def test_kubectl_replaces_and_applies_on_the_server_side_too(daemon: Daemon, kubectl: Kubectl) -> None:
    secrets = {"environment": {"secrets": {"PASSWORD": "tell-no-one"}}}
    document = manifest("ways", **secrets)
    kubectl("create", "--filename=-", document=document)
    kubectl.wait("ways", "Ready")
    document["spec"]["timeout"] = 60
    kubectl("replace", "--filename=-", document=document)  # without the version: whatever is there
    eventually(lambda: revision(daemon, "ways") == "2")
    document["spec"]["timeout"] = 90
    kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", document=document)
    eventually(lambda: revision(daemon, "ways") == "3")
    eventually(lambda: "tell-no-one" not in json.dumps(kubectl.get("ways")))
    eventually(lambda: kubectl.get("ways")["status"]["state"] == "ready")
    assert show(daemon, "ways")["document"]["timeout"] == 90  # type: ignore[index]


def test_an_object_that_was_deleted_and_made_again_is_the_same_service(daemon: Daemon, kubectl: Kubectl) -> None:
    kubectl.apply("twice")
    kubectl.wait("twice", "Ready")
    daemon.pause()
    kubectl("delete", "oscarservice", "twice")
    kubectl.apply("twice", timeout=30)
    daemon.resume()
    kubectl.wait("twice", "Ready")
    eventually(lambda: show(daemon, "twice")["document"]["timeout"] == 30)  # type: ignore[index]


def test_objects_that_are_restored_without_their_status_go_on(site: Site, daemon: Daemon, kubectl: Kubectl) -> None:
    daemon.apply(file_service("saved", COPY, environment={"secrets": {"PASSWORD": "from the backup"}}))
    daemon.wait_ready("saved")
    kubectl.wait("saved", "Ready")
    saved, secret = kubectl.get("saved"), kubectl.secret("saved")
    with daemon.client() as client:
        token = client.get("/system/services/saved").json()["token"]
    daemon.stop()
    kubectl("delete", "oscarservice/saved", "secret/saved.catalogue")
    for found in (saved, secret):
        metadata = {key: found["metadata"].get(key, {}) for key in ("name", "labels")}
        found = {key: value for key, value in found.items() if key != "status"}
        kubectl("create", "--filename=-", document={**found, "metadata": metadata})
    upload(site, "saved", "in/while-away.txt")
    daemon.start(LONG)
    daemon.wait_ready("saved")
    kubectl.wait("saved", "Ready")
    with daemon.client() as client:
        assert client.get("/system/services/saved").json()["token"] == token
    assert (revision(daemon, "saved"), kubectl.get("saved")["status"]["revision"]) == ("1", 1)
    daemon.wait_jobs(1, service="saved")


def test_old_files_are_no_work_for_a_service_that_was_declared_while_the_invoker_was_away(
    site: Site, daemon: Daemon, kubectl: Kubectl
) -> None:
    site.minio.client().make_bucket("late")
    upload(site, "late", "in/old.txt")
    daemon.stop()
    time.sleep(1.1)  # the time of the declaration is known in whole seconds
    kubectl.apply("late")
    time.sleep(1.1)
    upload(site, "late", "in/new.txt")
    daemon.start(LONG)
    kubectl.wait("late", "Ready")
    (job,) = daemon.wait_jobs(1, service="late")
    assert job["key"] == "in/new.txt"


def test_a_takeover_that_breaks_off_keeps_the_secrets(
    site: Site, daemon: Daemon, kubectl: Kubectl, kube: KubeServer
) -> None:
    """The invoker is killed between hiding the secrets and saying which revision counts."""
    kubectl.apply("half")
    kubectl.wait("half", "Ready")
    daemon.stop()
    kept = decoded(kubectl.secret("half"))
    entry = json.loads(kept["revision-1"])
    entry["revision"] = 2
    entry["document"]["environment"]["secrets"] = {"PASSWORD": "half-way"}
    value = base64.b64encode(json.dumps(entry).encode()).decode()
    kubectl("patch", "secret/half.catalogue", "--type=merge", "--patch", json.dumps({"data": {"revision-2": value}}))
    spec = {"spec": {"environment": {"secrets": {"PASSWORD": "hidden"}}}}
    kubectl("patch", "oscarservice/half", "--type=merge", "--patch", json.dumps(spec))
    daemon.start(LONG)
    eventually(lambda: kubectl.get("half")["status"]["revision"] == 2)
    kubectl.wait("half", "Ready")
    kept = decoded(kubectl.secret("half"))
    assert json.loads(kept["revision-2"])["document"]["environment"]["secrets"] == {"PASSWORD": "half-way"}


def test_an_api_server_that_is_away_stops_changes_but_not_jobs(
    site: Site, daemon: Daemon, kubectl: Kubectl, kube: KubeServer
) -> None:
    daemon.apply(file_service("steady", COPY))
    daemon.wait_ready("steady")
    kubectl.wait("steady", "Ready")
    kube.stop_api()
    with daemon.client() as client:
        assert client.put("/v2/services/steady", json=file_service("steady", COPY, cpu="2")).status_code == 503
        eventually(lambda: client.get("/readyz").status_code == 503)
    upload(site, "steady", "in/c.txt")
    (job,) = daemon.wait_jobs(1, service="steady")
    assert job["state"] == "succeeded"
    kube.start_api()
    kubectl("patch", "oscarservice/steady", "--type=merge", '--patch={"spec":{"concurrency":3}}')
    eventually(lambda: show(daemon, "steady")["document"]["concurrency"] == 3)  # type: ignore[index]
    with daemon.client() as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        assert client.put("/v2/services/steady", json=file_service("steady", COPY, cpu="2")).status_code == 200
    assert httpx.get(f"{daemon.url}/livez").status_code == 200
