# SPDX-License-Identifier: Apache-2.0
"""Dead letters: events that are not valid, stored until a user replays or removes them."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext, is_number
from oscar_fedcloud.api.routing import Parameter, Route
from oscar_fedcloud.api.v2 import serializers, views
from oscar_fedcloud.domain.services import NotFound
from oscar_fedcloud.ledger import DeadLetter
from oscar_fedcloud.server.encoding import answer

_SHOWN = 4096  # bytes


async def list_dead_letters(ctx: RequestContext) -> Response:
    """Return dead letters, newest first, by page."""
    limit = ctx.number("limit", 100, 1, 1000)
    before = ctx.optional_number("cursor", 1, 10**11)
    letters = await asyncio.to_thread(ctx.invoker.ledger.dead_letters, limit + 1, before)
    cursor = str(letters[limit - 1].id) if len(letters) > limit else ""
    return answer(views.DeadLetters([_view(letter) for letter in letters[:limit]], cursor))


def _view(letter: DeadLetter) -> views.DeadLetter:
    return views.DeadLetter(
        id=letter.id,
        source=letter.source,
        reason=letter.reason,
        received=serializers.time_of(letter.received),
        size=letter.size,
        body=letter.body[:_SHOWN].decode("utf-8", "backslashreplace"),
    )


async def replay_dead_letter(ctx: RequestContext) -> Response:
    """Process a dead letter as if it arrived now. It is removed when its events are recorded."""
    return answer(views.Replayed(await ctx.invoker.invocations.replay_dead_letter(_id(ctx))))


async def delete_dead_letter(ctx: RequestContext) -> Response:
    """Remove a dead letter permanently."""
    if not await asyncio.to_thread(ctx.invoker.ledger.drop_dead_letter, _id(ctx)):
        raise NotFound(f"dead letter {_id(ctx)} does not exist")
    return Response(status_code=204)


def _id(ctx: RequestContext) -> int:
    text = ctx.param("id")
    if not is_number(text):
        raise NotFound(f"dead letter {text} does not exist")
    return int(text)


_PAGE = (
    Parameter("limit", "letters on a page, by default 100", "integer"),
    Parameter("cursor", "of the page before", "integer"),
)
_ONE = "/v2/dead-letters/{id}"

ROUTES = (
    Route(
        "GET",
        "/v2/dead-letters",
        handler=list_dead_letters,
        summary="Dead letters",
        kind="site",
        answer=views.DeadLetters,
        parameters=_PAGE,
        errors=(422,),
    ),
    Route(
        "POST",
        f"{_ONE}:replay",
        handler=replay_dead_letter,
        summary="Replay a dead letter",
        kind="site",
        answer=views.Replayed,
        errors=(404, 422),
    ),
    Route(
        "DELETE",
        _ONE,
        handler=delete_dead_letter,
        summary="Remove a dead letter",
        kind="site",
        status=204,
        errors=(404,),
    ),
)
