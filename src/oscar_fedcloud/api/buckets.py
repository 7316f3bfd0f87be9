# SPDX-License-Identifier: Apache-2.0
"""Buckets and objects of the site's store, for clients that hold no keys of it."""

from __future__ import annotations

import asyncio
import itertools
import re

from starlette.responses import Response, StreamingResponse

from oscar_fedcloud.api import present, views
from oscar_fedcloud.api.call import Call
from oscar_fedcloud.api.core import Store
from oscar_fedcloud.api.encoding import answer
from oscar_fedcloud.api.errors import invalid
from oscar_fedcloud.api.routing import BYTES, Parameter, Route
from oscar_fedcloud.api.system import DEFAULT_STORE
from oscar_fedcloud.core_types import NotFound
from oscar_fedcloud.model import Prefix
from oscar_fedcloud.providers.keys import stageable

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


async def list_buckets(call: Call) -> Response:
    """The names of all buckets."""
    names = await asyncio.to_thread(_store(call).buckets)
    return answer(views.Buckets([views.Bucket(name) for name in sorted(names)]))


async def get_bucket(call: Call) -> Response:
    """A bucket, if it exists."""
    bucket = call.param("bucket")
    if bucket not in await asyncio.to_thread(_store(call).buckets):
        raise NotFound(f"bucket {bucket} does not exist")
    return answer(views.Bucket(bucket))


async def put_bucket(call: Call) -> Response:
    """Make sure that a bucket exists."""
    bucket = call.param("bucket")
    if not _NAME.fullmatch(bucket):
        hint = "3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit at both ends"
        raise invalid("bucket", bucket, f"{bucket!r} is not a bucket name", hint)
    created = await asyncio.to_thread(_store(call).ensure_bucket, bucket)
    return answer(views.Bucket(bucket), 201 if created else 200)


async def delete_bucket(call: Call) -> Response:
    """Delete a bucket; with its objects only when ``data=delete`` is asked for."""
    data = call.query.get("data", "keep")
    if data not in ("keep", "delete"):
        raise invalid("query.data", data, f"{data!r} is not keep or delete")
    await asyncio.to_thread(_store(call).delete_bucket, call.param("bucket"), data == "delete")
    return Response(status_code=204)


async def list_objects(call: Call) -> Response:
    """Objects of a bucket in the order of their keys."""
    limit = call.number("limit", 1000, 1, 100_000)
    where = Prefix(call.param("bucket"), call.query.get("prefix", ""))
    store = _store(call)
    events = await asyncio.to_thread(lambda: list(itertools.islice(store.list(where), limit + 1)))
    objects = [present.object_view(event) for event in events[:limit]]
    return answer(views.Objects(objects, len(events) > limit))


async def put_object(call: Call) -> Response:
    """Store the request's body as an object."""
    key = call.object_key
    if not stageable(key):
        raise invalid("key", key, f"{key!r} is not a usable key", "no empty, '.' or '..' path segment, no NUL")
    store = _store(call)
    body = await call.body(call.api.limits.max_body)
    event = await asyncio.to_thread(store.put_file, call.param("bucket"), key, body.file, body.size)
    return answer(present.object_view(event), 201)


async def get_object(call: Call) -> Response:
    """The bytes of an object."""
    bucket, key = call.param("bucket"), call.object_key
    chunks = await asyncio.to_thread(_store(call).read, bucket, key)
    if chunks is None:
        raise NotFound(f"bucket {bucket} has no object {key!r}")
    return StreamingResponse(chunks, media_type=BYTES)


def _store(call: Call) -> Store:
    """The provider that the query names, else the site's own."""
    providers = call.core.providers
    name = call.query.get("provider", DEFAULT_STORE if DEFAULT_STORE in providers else next(iter(providers)))
    if name not in providers:
        hint = f"known are: {', '.join(providers)}"
        raise invalid("query.provider", name, f"{name!r} is not a storage provider", hint)
    return providers[name]


_PROVIDER = Parameter("provider", "storage provider, by default the site's own")
_DATA = Parameter("data", "keep (default: fails when there are objects) or delete")
_LIST = (_PROVIDER, Parameter("prefix", "of the keys"), Parameter("limit", "most objects, by default 1000", "integer"))
_BUCKET = "/v2/buckets/{bucket}"
_OBJECT = "/v2/buckets/{bucket}/objects/{key:key}"

ROUTES = (
    Route("GET", "/v2/buckets", list_buckets, "All buckets", "bucket", views.Buckets, parameters=(_PROVIDER,)),
    Route("GET", _BUCKET, get_bucket, "One bucket", "bucket", views.Bucket, parameters=(_PROVIDER,), errors=(404,)),
    Route(
        "PUT",
        _BUCKET,
        put_bucket,
        "Make sure that a bucket exists (201 when it is new)",
        "bucket",
        views.Bucket,
        parameters=(_PROVIDER,),
        errors=(201, 422),
    ),
    Route(
        "DELETE",
        _BUCKET,
        delete_bucket,
        "Delete a bucket",
        "bucket",
        status=204,
        parameters=(_PROVIDER, _DATA),
        errors=(404, 409, 422),
    ),
    Route(
        "GET",
        f"{_BUCKET}/objects",
        list_objects,
        "Objects",
        "bucket",
        views.Objects,
        parameters=_LIST,
        errors=(404, 422),
    ),
    Route(
        "PUT",
        _OBJECT,
        put_object,
        "Store an object",
        "bucket",
        views.Object,
        201,
        request=BYTES,
        parameters=(_PROVIDER,),
        errors=(404, 422),
    ),
    Route(
        "GET", _OBJECT, get_object, "The bytes of an object", "bucket", BYTES, parameters=(_PROVIDER,), errors=(404,)
    ),
)
