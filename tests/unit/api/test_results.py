# SPDX-License-Identifier: Apache-2.0
"""Jobs list what their last attempt wrote, page by page, and the job that wrote their input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from parts.api_invoker import ApiInvoker, event

from oscar_fedcloud.api.v2.serializers import name_of
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, StoredObject, job_name
from oscar_fedcloud.ledger import RunTransition

STORE = "minio.default"


def end(invoker: ApiInvoker, run: Run, *outputs: StoredObject, total: int = 0, summary: str = "") -> None:
    """End the next attempt of a run, which wrote these objects."""
    begun = invoker.begin(run)
    job = job_name(run.service, run.id, begun.attempts)
    more = {"outputs": outputs, "outputs_total": max(total, len(outputs)), "summary": summary}
    invoker.ledger.finish(job, Completion(job, AttemptState.SUCCEEDED, 0, **more), RunTransition(RunState.SUCCEEDED))  # type: ignore[arg-type]


async def test_a_job_shows_what_its_last_attempt_wrote(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.put("/v2/services/grayify", json=document)
    run = await invoker.record("grayify", event("pictures", "in/a.jpg"))
    end(invoker, run, StoredObject(STORE, "pictures", "out/old.jpg", 1, "e0"))
    run = invoker.ledger.replay(run.id, 0.0)
    odd = StoredObject(STORE, "pictures", "out/deep/\udcff.jpg", None, "")
    end(invoker, run, StoredObject(STORE, "pictures", "out/a.jpg", 7, "e1"), odd, total=20_000, summary="one face")
    job = (await admin.get(f"/v2/jobs/{run.id}")).json()
    assert job["outputs"] == [
        {"provider": STORE, "bucket": "pictures", "key": "out/a.jpg", "name": "a.jpg", "size": 7, "etag": "e1"},
        {
            "provider": STORE,
            "bucket": "pictures",
            "key": "out/deep/\udcff.jpg",
            "name": "deep/\udcff.jpg",
            "size": None,
            "etag": "",
        },
    ]
    assert (job["outputs_total"], job["summary"], job["origin"]) == (20_000, "one face", None)
    first = (await admin.get(f"/v2/jobs/{run.id}/outputs?attempt=1")).json()
    assert [one["name"] for one in first["outputs"]] == ["old.jpg"]


async def test_outputs_are_paged(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> None:
    await admin.put("/v2/services/grayify", json=document)
    run = await invoker.record("grayify", event("pictures", "in/a.jpg"))
    end(invoker, run, *(StoredObject(STORE, "pictures", f"out/{number}") for number in range(1500)))
    assert len((await admin.get(f"/v2/jobs/{run.id}")).json()["outputs"]) == 1000
    names: list[str] = []
    query = {"limit": "400"}
    while True:
        page = (await admin.get(f"/v2/jobs/{run.id}/outputs", params=query)).json()
        assert page["total"] == 1500
        names += [one["name"] for one in page["outputs"]]
        if not page["cursor"]:
            break
        query["cursor"] = page["cursor"]
    assert names == [str(number) for number in range(1500)]


async def test_a_chain_is_followed_both_ways(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.put("/v2/services/grayify", json=document)
    first = await invoker.record("grayify", event("pictures", "in/a.jpg"))
    written = event("pictures", "out/a.jpg", b"grey")
    size = written.size
    end(invoker, first, StoredObject(STORE, "pictures", "out/a.jpg", size, written.etag))
    second = await invoker.record("next", replace(written, order=0))
    assert (await admin.get(f"/v2/jobs/{second.id}")).json()["origin"] == first.id
    for one in (first, second):
        chain = (await admin.get(f"/v2/jobs/{one.id}/chain")).json()
        assert [job["id"] for job in chain["jobs"]] == [first.id, second.id]
        (link,) = chain["links"]
        assert link == {
            "from": first.id,
            "to": second.id,
            "provider": STORE,
            "bucket": "pictures",
            "key": "out/a.jpg",
        }
        assert chain["complete"]


@pytest.mark.parametrize(
    ("key", "folders", "name"),
    [
        ("out/a/b", [(STORE, "b", "out/")], "a/b"),
        ("out/a/b", [(STORE, "b", "out/"), (STORE, "b", "out/a/")], "b"),
        ("out/a/b", [("s3.x", "b", "out/"), (STORE, "c", "out/")], "b"),
        ("a/b", [(STORE, "b", "")], "a/b"),
        ("a", [], "a"),
    ],
)
def test_the_name_is_the_key_below_its_output(key: str, folders: list[tuple[str, str, str]], name: str) -> None:
    assert name_of(StoredObject(STORE, "b", key), folders) == name
