# SPDX-License-Identifier: Apache-2.0
"""No input of a client is an error of the server: every route with odd names, parameters, headers and bodies."""

from __future__ import annotations

import json
import random
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from parts.api_invoker import ApiInvoker, event

from oscar_fedcloud.api.routes import ROUTES
from oscar_fedcloud.api.routing import Route
from oscar_fedcloud.domain.runs import RunState

CASES = 60  # for each route
ODD = [
    *(
        "",
        " ",
        "%",
        "..",
        "a/b",
        "a:b",
        ":retyr",
        "x" * 300,
        "x" * 5000,
        "\0",
        "\n",
        "\x7f",
        "é",
        "☃",
        "\ufffe",
        "²",
        "٣",
    ),
    *("-1", "0", "1", "1.5", "1e999", "nan", "inf", "9" * 18, "9" * 400, "9" * 5000, "0x1", "true", "null", "[]", "{}"),
    *(
        "x\udcff",
        "\udc80",
        "2026-01-31T12:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "1~x",
        "1.1~x",
    ),
    *("grayify", "pictures", "in/a.jpg", "queued,failed", "minio.default", "'; DROP TABLE runs; --", "MQ==", "a-1-²"),
]
BODIES: list[Any] = [
    *(None, True, 0, -1, 2**63, 2**64, 1e308, "", "x", "\ud800", [], {}, [[]], [None], {"": None}, {"a": {}}),
    *({"revision": one} for one in (None, "", "²", -1, 2**70, 1.5, [], True, "1")),
    *({"fdl": one} for one in (None, [], {}, {"functions": None}, {"functions": {"oscar": [None]}}, "x")),
    *({"services": one} for one in (None, [], {}, [None], [[]], [{}], [{"name": None}], [{"name": []}], "x")),
    *({"names": one} for one in (None, [], {}, [None], [""], ["x", "x"], [1])),
    {"state": "absent", "names": ["x"] * 3},
    {"state": "absent", "names": ["nosuch"], "data": "delete", "prune": True},
    {"Records": [{"eventSource": "minio:s3", "s3": {"bucket": {"name": 1}}}]},
    {"Records": [{"eventSource": "minio:s3", "s3": {"bucket": {"name": "b"}, "object": {"key": "%FF%00"}}}]},
    {"httpMethod": "POST", "body": None, "queryStringParameters": [1]},
    {"event": {"event": {"event": {"event": {}}}}},
    {"name": "grayify", "memory": 1e400, "input": [{"path": None}], "retry": {"attempts": 10**30}},
]
RAW = [b"", b"\xff\xfe", b"{", b"[" * 20_000, b'{"a":' * 5_000, b"\0" * 100, b'{"a":1e99999}', b'"\\ud800"']
HEADERS = [
    *(("Content-Type", one) for one in ("", "application/json", "text/json; charset=nonsense", "\xff", ";;;")),
    *(("If-Match", one) for one in ("", "*", '"1"', "W/", ",,,", '"' * 50)),
    *(("If-None-Match", one) for one in ("", "*", '"1"', "x")),
    *(("Idempotency-Key", one) for one in ("", "k", "\xff", "x" * 255, "x" * 256)),
    *(("X-Delegated-Job-ID", one) for one in ("", "\xff", "x" * 2000)),
    *(("Accept", one) for one in ("", "application/problem+json", "\xff")),
    *(("Origin", one) for one in ("null", "http://", "http://[", "\xff")),
    ("Sec-Fetch-Site", "\xff"),
]


def request(route: Route, odd: random.Random) -> tuple[str, dict[str, Any]]:
    """The path and the rest of a request to the route that is odd in some of its places."""

    def text() -> str:
        return quote(odd.choice(ODD), errors="surrogateescape", safe=odd.choice(["", "/:"]))

    known = {"name": "grayify", "id": "nosuch", "bucket": "pictures", "job": "grayify-x-1", "key": "in/a.jpg"}
    path = re.sub(r"{(\w+)}", lambda found: known[found[1]] if odd.random() < 0.5 else text(), route.template)
    names = [one.name for one in route.parameters if one.place == "query"] + ["nonsense"]
    query = "&".join(f"{one}={text()}" for one in odd.sample(names, odd.randint(0, len(names))))
    headers = [(name, value.encode("latin-1")) for name, value in odd.sample(HEADERS, odd.randint(0, 3))]
    body = json.dumps(odd.choice(BODIES)).encode() if odd.random() < 0.7 else odd.choice(RAW)
    return f"{path}?{query}" if query else path, {"headers": headers, "content": body}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.template}")
async def test_odd_requests_are_refused_and_not_failed(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any], route: Route
) -> None:
    odd = random.Random(f"{route.method} {route.template}")
    for _ in range(CASES):
        if "grayify" not in invoker.catalogue.services:
            await admin.put("/v2/services/grayify", json=document)
            invoker.store.ensure_bucket("pictures")
            invoker.end(invoker.begin(await invoker.record("grayify", event("pictures", "in/a.jpg"))), RunState.FAILED)
        path, rest = request(route, odd)
        url = httpx.URL("http://oscar.example").copy_with(raw_path=path.encode("ascii") or b"/")
        answer = await admin.request(route.method, url, **rest)
        allowed = (501,) if route.status == 501 else ()
        assert answer.status_code < 500 or answer.status_code in allowed, (path, rest, answer.text)
        if answer.status_code == 422 and "application/problem+json" in answer.headers["content-type"]:
            assert answer.json()["detail"]
