# SPDX-License-Identifier: Apache-2.0
"""Services as Kubernetes objects: declared by the API and by kubectl, against a real API server."""

from __future__ import annotations

import json

from parts.catalogued import COPY, PATH, Kubectl, decoded, eventually, manifest, revision, show, upload
from parts.daemon import Daemon
from parts.site import Site, file_service


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
    assert "revision 1 stays active" in show(daemon, "broken")["status"]["reason"]  # type: ignore[index]
    kubectl.apply("broken")
    eventually(lambda: kubectl.condition("broken", "Invalid").get("status") == "False")
    assert (revision(daemon, "broken"), kubectl.get("broken")["status"]["state"]) == ("1", "ready")


def test_a_callback_to_an_address_within_the_site_is_refused(daemon: Daemon, kubectl: Kubectl) -> None:
    """The same as by the API: whoever may write the object must not make the daemon ask its neighbours."""
    kubectl.apply("called", callback="http://169.254.169.254/latest")
    kubectl.wait("called", "Invalid")
    message = kubectl.condition("called", "Invalid")["message"]
    assert "spec.callback: 'http://169.254.169.254/latest' points to an address" in message
    assert "callback_networks" in message
    assert show(daemon, "called") is None
    kubectl.apply("called", callback="https://example.org/done")
    kubectl.wait("called", "Ready")


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
        "environment": {"variables": {"N": "1"}, "secrets": {"PASSWORD": "sesame-1"}},
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
