# SPDX-License-Identifier: Apache-2.0
"""Dead letters: events that could not be understood, kept whole until someone replays or removes them."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext, is_number
from oscar_fedcloud.api.routing import Parameter, Route
from oscar_fedcloud.api.v2 import serializers as present
from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.domain.services import NotFound
from oscar_fedcloud.ledger import DeadLetter
from oscar_fedcloud.server.encoding import answer

_SHOWN = 4096  # bytes


async def list_dead_letters(call: RequestContext) -> Response:
    """Dead letters, newest first, by page."""
    limit = call.number("limit", 100, 1, 1000)
    before = call.optional_number("cursor", 1, 10**11)
    letters = await asyncio.to_thread(call.invoker.ledger.dead_letters, limit + 1, before)
    cursor = str(letters[limit - 1].id) if len(letters) > limit else ""
    return answer(views.DeadLetters([_view(letter) for letter in letters[:limit]], cursor))


def _view(letter: DeadLetter) -> views.DeadLetter:
    return views.DeadLetter(
        id=letter.id,
        source=letter.source,
        reason=letter.reason,
        received=present.time_of(letter.received),
        size=letter.size,
        body=letter.body[:_SHOWN].decode("utf-8", "backslashreplace"),
    )


async def replay_dead_letter(call: RequestContext) -> Response:
    """Take a dead letter as if it came now; it is removed when its events are recorded."""
    return answer(views.Replayed(await call.invoker.invocations.replay_dead_letter(_id(call))))


async def delete_dead_letter(call: RequestContext) -> Response:
    """Remove a dead letter for good."""
    if not await asyncio.to_thread(call.invoker.ledger.drop_dead_letter, _id(call)):
        raise NotFound(f"dead letter {_id(call)} does not exist")
    return Response(status_code=204)


def _id(call: RequestContext) -> int:
    text = call.param("id")
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
        list_dead_letters,
        "Dead letters",
        "site",
        views.DeadLetters,
        parameters=_PAGE,
        errors=(422,),
    ),
    Route(
        "POST",
        f"{_ONE}:replay",
        replay_dead_letter,
        "Try a dead letter again",
        "site",
        views.Replayed,
        errors=(404, 422),
    ),
    Route("DELETE", _ONE, delete_dead_letter, "Remove a dead letter", "site", status=204, errors=(404,)),
)
