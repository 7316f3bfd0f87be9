# SPDX-License-Identifier: Apache-2.0
"""Services as Kubernetes objects: removed, restored, and changed while the invoker or the API server is away."""

from __future__ import annotations

import base64
import json
import time

import httpx
from parts.catalogued import COPY, LONG, PATH, SECRETS, Kubectl, decoded, eventually, manifest, revision, show, upload
from parts.daemon import Daemon
from parts.kube import KubeServer
from parts.site import Site, file_service


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
        assert [one["revision"] for one in shown] == ["6", "5", "4", "3"]  # three earlier ones are kept
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
    assert kubectl.get("twice")["status"]["state"] == "ready"


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
