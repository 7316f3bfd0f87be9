# SPDX-License-Identifier: Apache-2.0
"""Buckets and objects for clients without keys of the store."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from parts.api_invoker import ODD_KEYS, ApiInvoker, as_bytes

from oscar_fedcloud.storage.errors import StoreError, StoreFull


async def test_the_life_of_a_bucket(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    created = await admin.put("/v2/buckets/pictures")
    assert (created.status_code, created.json()) == (201, {"name": "pictures"})
    assert (await admin.put("/v2/buckets/pictures")).status_code == 200
    assert (await admin.get("/v2/buckets")).json() == {"buckets": [{"name": "pictures"}], "cursor": ""}
    assert (await admin.get("/v2/buckets/pictures")).json() == {"name": "pictures"}
    assert (await admin.get("/v2/buckets/nosuch")).status_code == 404

    await admin.put("/v2/buckets/pictures/objects/a.txt", content=b"a")
    refused = await admin.delete("/v2/buckets/pictures")
    assert (refused.status_code, invoker.store.content) == (409, {"pictures": {"a.txt": b"a"}})
    assert (await admin.delete("/v2/buckets/pictures?data=yes")).status_code == 422
    assert (await admin.delete("/v2/buckets/pictures?data=delete")).status_code == 204
    assert (await admin.delete("/v2/buckets/pictures")).status_code == 404


@pytest.mark.parametrize("name", ["ab", "UPPER", "a_b", "-abc", "abc-", "a" * 64, "%2e%2e%2e", "a%0ab"])
async def test_bad_bucket_names(admin: httpx.AsyncClient, invoker: ApiInvoker, name: str) -> None:
    assert (await admin.put(f"/v2/buckets/{name}")).status_code == 422
    assert invoker.store.content == {}


@pytest.mark.parametrize("key", [*ODD_KEYS, "deep/er/file.txt", "objects/objects/x", "trailing\n"])
async def test_objects_of_any_key(admin: httpx.AsyncClient, invoker: ApiInvoker, key: str) -> None:
    invoker.store.ensure_bucket("pictures")
    path = f"/v2/buckets/pictures/objects/{quote(key, errors='surrogateescape')}"
    body = bytes(range(256)) * 20
    put = await admin.put(path, content=body)
    assert put.status_code == 201
    assert invoker.store.content["pictures"] == {key: body}
    got = await admin.get(path)
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, body, "application/octet-stream")
    (listed,) = (await admin.get("/v2/buckets/pictures/objects")).json()["objects"]
    assert listed == put.json()
    assert (listed["key"], listed["size"]) == (key, len(body))
    assert list(listed) == ["key", "size", "etag", "revision", "modified"]
    assert [(await admin.delete(path)).status_code for _ in range(2)] == [204, 404]
    assert invoker.store.content["pictures"] == {}


async def test_buckets_by_page(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    names = [f"bucket-{number}" for number in range(5)]
    invoker.store.content = {name: {} for name in reversed(names)}
    assert (await admin.get("/v2/buckets")).json() == {"buckets": [{"name": name} for name in names], "cursor": ""}
    pages = [(await admin.get("/v2/buckets?limit=2")).json()]
    invoker.store.ensure_bucket("bucket-0-and-a-half")  # on a page that was read
    while cursor := pages[-1]["cursor"]:
        pages.append((await admin.get("/v2/buckets", params={"limit": 2, "cursor": cursor})).json())
    assert [[one["name"] for one in page["buckets"]] for page in pages] == [names[:2], names[2:4], names[4:]]
    for query in ("limit=0", "limit=1001", "cursor=%25"):
        assert (await admin.get(f"/v2/buckets?{query}")).status_code == 422


async def test_objects_of_the_server_are_not_deleted(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    bucket = invoker.config.internal_bucket
    invoker.store.ensure_bucket(bucket)
    invoker.store.content[bucket]["copy/body"] = b"x"
    assert (await admin.delete(f"/v2/buckets/{bucket}/objects/copy/body")).status_code == 409
    assert invoker.store.content[bucket] == {"copy/body": b"x"}


@pytest.mark.parametrize("key", ["%2E%2E/x", "a/%2e%2e/b", "a//b", "x/", "a/%2e/b", "a%00b"])
async def test_keys_that_cannot_be_files(admin: httpx.AsyncClient, invoker: ApiInvoker, key: str) -> None:
    invoker.store.ensure_bucket("pictures")
    assert (await admin.put(f"/v2/buckets/pictures/objects/{key}", content=b"x")).status_code == 422
    assert invoker.store.content == {"pictures": {}}


async def test_a_big_object_goes_through_a_file(admin: httpx.AsyncClient, invoker: ApiInvoker, limits: object) -> None:
    invoker.store.ensure_bucket("pictures")
    body = bytes(200_000)
    assert (await admin.put("/v2/buckets/pictures/objects/big", content=body)).status_code == 201
    assert invoker.store.content["pictures"]["big"] == body
    assert (await admin.put("/v2/buckets/pictures/objects/big", content=body + b"x")).status_code == 413


async def test_lists_by_prefix_and_limit(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    invoker.store.content["pictures"] = dict.fromkeys(("a/1", "a/2", "a/3", "b/1"), b"x")

    async def keys(query: str) -> tuple[list[str], bool]:
        answer = (await admin.get(f"/v2/buckets/pictures/objects{query}")).json()
        return [one["key"] for one in answer["objects"]], answer["truncated"]

    assert await keys("") == (["a/1", "a/2", "a/3", "b/1"], False)
    assert await keys("?prefix=a/") == (["a/1", "a/2", "a/3"], False)
    assert await keys("?prefix=a/&limit=2") == (["a/1", "a/2"], True)
    assert await keys("?prefix=a/&limit=3") == (["a/1", "a/2", "a/3"], False)
    assert (await admin.get("/v2/buckets/pictures/objects?limit=0")).status_code == 422


@pytest.mark.parametrize("limit", ["0", "100001", "many"])
async def test_a_page_of_objects_has_bounds(admin: httpx.AsyncClient, limit: str) -> None:
    answer = await admin.get("/v2/buckets/pictures/objects", params={"limit": limit})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "query.limit"


async def test_pages_of_any_keys_by_cursor(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    keys = sorted([*ODD_KEYS, *(f"out/{number}" for number in range(22))], key=as_bytes)
    invoker.store.content["pictures"] = dict.fromkeys(keys, b"x")
    seen: list[str] = []
    query: dict[str, str] = {"limit": "4"}
    while True:
        page = (await admin.get("/v2/buckets/pictures/objects", params=query)).json()
        assert len(page["objects"]) <= 4
        seen += [one["key"] for one in page["objects"]]
        assert page["truncated"] == bool(page["cursor"])
        if not page["cursor"]:
            break
        query["cursor"] = page["cursor"]
    assert seen == keys
    assert invoker.store.listed == 28 + 6  # each page but the last reads one row of the next
    for cursor in ("x", "é", "a b", "%"):
        refused = await admin.get("/v2/buckets/pictures/objects", params={"cursor": cursor})
        assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "query.cursor")


async def test_a_bucket_in_use_is_kept_and_its_users_are_named(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.put("/v2/services/grayify", json=document)
    await admin.put("/v2/buckets/pictures")
    for query in ("", "?data=delete"):
        refused = await admin.delete(f"/v2/buckets/pictures{query}")
        assert refused.status_code == 409
        assert "bucket pictures is used by grayify (input, output)" in refused.json()["detail"]
    assert invoker.missing == []
    assert (await admin.delete("/v2/buckets/pictures?force=true")).status_code == 204
    assert invoker.missing == [("minio.default", "pictures")]
    assert (await admin.delete("/v2/buckets/pictures")).status_code == 404
    for own in (invoker.config.log_bucket, invoker.config.internal_bucket):
        invoker.store.ensure_bucket(own)
        assert (await admin.delete(f"/v2/buckets/{own}?force=true&data=delete")).status_code == 409


async def test_a_bucket_that_turns_out_to_be_missing_is_told(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    for ask in (
        admin.get("/v2/buckets/gone"),
        admin.get("/v2/buckets/gone/objects"),
        admin.put("/v2/buckets/gone/objects/x", content=b"x"),
        admin.delete("/v2/buckets/gone"),
    ):
        invoker.missing.clear()
        assert (await ask).status_code == 404
        assert invoker.missing == [("minio.default", "gone")]


@pytest.mark.parametrize("name", ["X", "a..b", "%FF", "b" * 70, "a%2Fb", "%20", "10.0.0.1", "a.-b", "%00"])
async def test_what_can_be_no_bucket_is_not_there(admin: httpx.AsyncClient, name: str) -> None:
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/objects"),
        ("PUT", "/objects/x"),
        ("GET", "/objects/x"),
    ):
        assert (await admin.request(method, f"/v2/buckets/{name}{path}")).status_code == 404


async def test_what_is_not_there(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    assert (await admin.get("/v2/buckets/nosuch/objects")).status_code == 404
    assert (await admin.put("/v2/buckets/nosuch/objects/x", content=b"x")).status_code == 404
    assert (await admin.get("/v2/buckets/nosuch/objects/x")).status_code == 404
    wrong = await admin.get("/v2/buckets?provider=s3.lab")
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "query.provider")
    assert (await admin.get("/v2/buckets?provider=minio.default")).status_code == 200


async def test_a_store_that_is_away(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    def away() -> list[str]:
        raise StoreError("storage provider minio.default cannot list bucket (all): refused")

    invoker.store.buckets = away  # type: ignore[method-assign]
    answer = await admin.get("/v2/buckets")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "minio.default" in answer.json()["detail"]


async def test_a_store_that_is_full(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    def full(*_: Any) -> None:
        raise StoreFull("object 'a' is not stored in bucket pictures: the disk (/data/store) is full; make room on it")

    invoker.store.ensure_bucket("pictures")
    invoker.store.put_file = full  # type: ignore[method-assign, assignment]
    answer = await admin.put("/v2/buckets/pictures/objects/a", content=b"x")
    assert (answer.status_code, "/data/store" in answer.json()["detail"]) == (507, True)
