# SPDX-License-Identifier: Apache-2.0
"""Buckets and objects of the site's store, for clients without keys for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from starlette.responses import Response, StreamingResponse

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.paging import PAGE, cursor_of, named_by, page
from oscar_fedcloud.api.routing import BYTES, Parameter, Route
from oscar_fedcloud.api.v2 import serializers, views
from oscar_fedcloud.api.v2.bucket_use import own_use, users_of
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.services import NotFound
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.server.encoding import answer, begun, encode
from oscar_fedcloud.server.problems import ApiError, invalid
from oscar_fedcloud.storage.errors import BucketMissing, UnusableRows
from oscar_fedcloud.storage.object_keys import stageable
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.rows import some_rows

P = ParamSpec("P")
T = TypeVar("T")

_NAME = re.compile(r"(?!.*(?:\.\.|\.-|-\.))(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MOST = 100_000  # objects in one response


async def list_buckets(ctx: RequestContext) -> Response:
    """Return the names of all buckets, by page."""
    after = named_by(ctx)
    names = sorted(name for name in await _ask(ctx, _store(ctx).buckets) if name > after)
    shown, cursor = page(ctx, names, cursor_of)
    return answer(views.Buckets([views.Bucket(name) for name in shown], cursor))


async def get_bucket(ctx: RequestContext) -> Response:
    """Return a bucket, if it exists."""
    bucket = _bucket(ctx)
    if bucket not in await _ask(ctx, _store(ctx).buckets):
        ctx.invoker.reconciler.bucket_missing(_store(ctx).id, bucket)
        raise NotFound(f"bucket {bucket} does not exist")
    return answer(views.Bucket(bucket))


async def put_bucket(ctx: RequestContext) -> Response:
    """Create a bucket unless it exists."""
    bucket = ctx.param("bucket")
    if not _NAME.fullmatch(bucket):
        hint = "3 to 63 lower-case letters, digits, hyphens and single dots, with a letter or digit at both ends"
        raise invalid("bucket", bucket, f"{bucket!r} is not a bucket name", hint)
    created = await _ask(ctx, _store(ctx).ensure_bucket, bucket)
    return answer(views.Bucket(bucket), 201 if created else 200)


async def delete_bucket(ctx: RequestContext) -> Response:
    """Delete a bucket; its objects only with ``data=delete``.

    A bucket that services use is only deleted with ``force``. It is created again, empty, since the services are still
    declared.
    """
    data = ctx.query.get("data", "keep")
    if data not in ("keep", "delete"):
        raise invalid("query.data", data, f"{data!r} is not keep or delete")
    force = ctx.flag("force")
    store, bucket = _store(ctx), _bucket(ctx)
    if own := own_use(ctx.invoker.config, store.id, bucket):
        raise ApiError(409, f"bucket {bucket} cannot be deleted: the server keeps {own} there")
    users = users_of((one.service for one in ctx.invoker.catalogue.all_declared()), store.id, bucket)
    if users and not force and bucket in await _ask(ctx, store.buckets):
        raise ApiError(
            409, f"bucket {bucket} is used by {', '.join(users)}; remove these services first, or give force"
        )
    with _noticing(ctx, store):
        await _ask(ctx, store.delete_bucket, bucket, data == "delete")
    ctx.invoker.reconciler.bucket_missing(store.id, bucket)
    return Response(status_code=204)


@contextmanager
def _noticing(ctx: RequestContext, store: ObjectStore) -> Iterator[None]:
    """Report a missing bucket to the daemon, so that the services that use it show this immediately."""
    try:
        yield
    except BucketMissing:
        ctx.invoker.reconciler.bucket_missing(store.id, ctx.param("bucket"))
        raise


def _bucket(ctx: RequestContext) -> str:
    """Return the bucket named in the path. Raises NotFound for an invalid bucket name."""
    bucket = ctx.param("bucket")
    if not _NAME.fullmatch(bucket):
        raise NotFound(f"bucket {bucket} does not exist, since {bucket!r} is not a bucket name")
    return bucket


async def list_objects(ctx: RequestContext) -> Response:
    """Return objects of a bucket in the order of their keys."""
    limit = ctx.number("limit", 1000, 1, _MOST)
    after = named_by(ctx)
    where = Prefix(_bucket(ctx), ctx.query.get("prefix", ""))
    store = _store(ctx)
    with _noticing(ctx, store):
        events = await _ask(ctx, _page, store, where, after, limit + 1)
    body = await asyncio.to_thread(_encoded, events, limit)
    return Response(body, media_type="application/json")


def _page(store: ObjectStore, where: Prefix, after: str, limit: int) -> list[StorageEvent]:
    """Return at most ``limit`` objects with keys after ``after``. Blocks."""
    found, problem = some_rows(iter(store.list(where, after, limit)), limit)
    if problem is not None and not isinstance(problem, UnusableRows):
        raise problem
    return found


def _encoded(events: Sequence[StorageEvent], limit: int) -> bytes:
    more = len(events) > limit
    cursor = cursor_of(events[limit - 1].key) if more else ""
    return encode(views.Objects([serializers.object_view(event) for event in events[:limit]], more, cursor))


async def put_object(ctx: RequestContext) -> Response:
    """Store the request's body as an object."""
    key = ctx.object_key
    if not stageable(key):
        raise invalid("key", key, f"{key!r} is not a usable key", "no empty, '.' or '..' path segment, no NUL")
    store = _store(ctx)
    bucket = _bucket(ctx)
    body = await ctx.body(ctx.api.limits.max_body)
    with _noticing(ctx, store):
        event = await _ask(ctx, store.put_file, bucket, key, body.file, body.size)
    return answer(serializers.object_view(event), 201)


async def get_object(ctx: RequestContext) -> Response:
    """Return the bytes of an object."""
    bucket, key = _bucket(ctx), ctx.object_key
    chunks = await _ask(ctx, _store(ctx).read, bucket, key) if stageable(key) else None
    if chunks is None:
        raise NotFound(f"bucket {bucket} has no object {key!r}")
    return StreamingResponse(await begun(_streamed(ctx, chunks)), media_type=BYTES)


async def _streamed(ctx: RequestContext, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks of an object, each read in a thread of its store."""
    while (chunk := await _ask(ctx, lambda: next(chunks, None))) is not None:
        yield chunk


async def delete_object(ctx: RequestContext) -> Response:
    """Delete an object."""
    store, bucket, key = _store(ctx), _bucket(ctx), ctx.object_key
    if own := own_use(ctx.invoker.config, store.id, bucket):
        raise ApiError(409, f"objects of bucket {bucket} cannot be deleted: the server keeps {own} there")
    with _noticing(ctx, store):
        removed = stageable(key) and await _ask(ctx, store.remove, bucket, key)
    if not removed:
        raise NotFound(f"bucket {bucket} has no object {key!r}")
    return Response(status_code=204)


async def _ask(ctx: RequestContext, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the response of the store named in the query, called in one of its threads. Raises StoreError."""
    return await ctx.invoker.stores.run(_store(ctx).id, ask, *args, **kwargs)


def _store(ctx: RequestContext) -> ObjectStore:
    """Return the provider named in the query, else the site's own."""
    providers = ctx.invoker.stores
    name = ctx.query.get("provider", ctx.invoker.config.site_store_id)
    if name not in providers:
        hint = f"known are: {', '.join(providers)}"
        raise invalid("query.provider", name, f"{name!r} is not a storage provider", hint)
    return providers[name]


_PROVIDER = Parameter("provider", "storage provider, by default the site's own")
_DATA = Parameter("data", "keep (default: fails when there are objects) or delete")
_FORCE = Parameter("force", "delete it although services use it", "boolean")
_LIST = (
    _PROVIDER,
    Parameter("prefix", "of the keys"),
    Parameter("limit", "objects on a page, 1 to 100000, by default 1000", "integer"),
    Parameter("cursor", "of the page before"),
)
_BUCKET = "/v2/buckets/{bucket}"
_OBJECT = "/v2/buckets/{bucket}/objects/{key:key}"

ROUTES = (
    Route(
        "GET",
        "/v2/buckets",
        handler=list_buckets,
        summary="All buckets",
        kind="bucket",
        answer=views.Buckets,
        parameters=(_PROVIDER, *PAGE),
        errors=(422,),
    ),
    Route(
        "GET",
        _BUCKET,
        handler=get_bucket,
        summary="One bucket",
        kind="bucket",
        answer=views.Bucket,
        parameters=(_PROVIDER,),
        errors=(404,),
    ),
    Route(
        "PUT",
        _BUCKET,
        handler=put_bucket,
        summary="Make sure that a bucket exists (201 when it is new)",
        kind="bucket",
        answer=views.Bucket,
        parameters=(_PROVIDER,),
        errors=(201, 422),
    ),
    Route(
        "DELETE",
        _BUCKET,
        handler=delete_bucket,
        summary="Delete a bucket",
        kind="bucket",
        status=204,
        parameters=(_PROVIDER, _DATA, _FORCE),
        errors=(404, 409, 422),
    ),
    Route(
        "GET",
        f"{_BUCKET}/objects",
        handler=list_objects,
        summary="Objects",
        kind="bucket",
        answer=views.Objects,
        parameters=_LIST,
        errors=(404, 422),
    ),
    Route(
        "PUT",
        _OBJECT,
        handler=put_object,
        summary="Store an object",
        kind="bucket",
        answer=views.Object,
        status=201,
        request=BYTES,
        parameters=(_PROVIDER,),
        errors=(404, 422),
    ),
    Route(
        "GET",
        _OBJECT,
        handler=get_object,
        summary="The bytes of an object",
        kind="bucket",
        answer=BYTES,
        parameters=(_PROVIDER,),
        errors=(404,),
    ),
    Route(
        "DELETE",
        _OBJECT,
        handler=delete_object,
        summary="Delete an object",
        kind="bucket",
        status=204,
        parameters=(_PROVIDER,),
        errors=(404, 409),
    ),
)
