# SPDX-License-Identifier: Apache-2.0
"""Tells the URL that a service names of each job that ended. At least once, signed, in any order.

The request is a POST of the job as JSON. ``X-Oscar-Signature: sha256=<hex>`` is the HMAC-SHA256 of the body under the
service's token, so that the receiver can tell that it is ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from oscar_fedcloud.jobs.decide import backoff
from oscar_fedcloud.ledger import Callback, Ledger, LedgerUnavailable
from oscar_fedcloud.model import Run, StoredObject
from oscar_fedcloud.waiting import wait

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger(__name__)

_BATCH = 50
_OUTPUTS = 1000  # of a job that a message names
_TIMEOUT = 10.0  # s
_FIRST_WAIT, _LONGEST_WAIT, _TRIES = 5.0, 3600.0, 20
_IDLE = 60.0  # s between looks when nothing wakes us


class Callbacks:
    """Sends what the ledger's outbox holds. token: of a service, "" when it is gone."""

    def __init__(self, ledger: Ledger, token: Callable[[str], str]) -> None:
        self.ledger = ledger
        self.token = token
        self.wake = asyncio.Event()
        self._client: httpx.AsyncClient | None = None

    async def run(self) -> None:
        """Send for ever."""
        try:
            while True:
                pause = _IDLE
                try:
                    pause = await self._send_due()
                except LedgerUnavailable as error:
                    log.warning("ledger unavailable, callbacks pause", error=str(error))
                await wait(self.wake, pause)
                self.wake.clear()
        finally:
            if self._client:
                await self._client.aclose()

    async def _send_due(self) -> float:
        due = await asyncio.to_thread(self.ledger.callbacks_due, time.time(), _BATCH)
        await asyncio.gather(*(self._send(callback) for callback in due))
        return 0.0 if len(due) == _BATCH else min(_IDLE, _FIRST_WAIT)

    async def _send(self, callback: Callback) -> None:
        token = self.token(callback.run.service)
        if not token:  # the service is gone, and with it the secret that would sign
            await asyncio.to_thread(self.ledger.callback_done, callback.id)
            return
        body = await asyncio.to_thread(self._message, callback.run)
        headers = {"Content-Type": "application/json", "X-Oscar-Signature": signature(token, body)}
        if error := await self._post(callback.url, body, headers):
            await self._postpone(callback, error)
        else:
            await asyncio.to_thread(self.ledger.callback_done, callback.id)

    def _message(self, run: Run) -> bytes:
        attempts = self.ledger.attempts(run.id)
        last = attempts[-1] if attempts else None
        if last is None:
            return message(run)
        outputs = self.ledger.outputs(run.id, last.number, 0, _OUTPUTS)
        return message(run, outputs, last.outputs_total, last.summary)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> str:
        """Why the URL did not take it, or ""."""
        import httpx  # here, as is the client: most sites have no callbacks, and both take a while to begin

        self._client = self._client or httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)
        try:
            (await self._client.post(url, content=body, headers=headers)).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__
        return ""

    async def _postpone(self, callback: Callback, error: str) -> None:
        tries = callback.tries + 1
        if tries >= _TRIES:
            log.error("callback given up", url=callback.url, job=callback.run.id, tries=tries, error=error)
            await asyncio.to_thread(self.ledger.callback_done, callback.id)
            return
        delay = backoff(_FIRST_WAIT, _LONGEST_WAIT, tries, random.random())  # noqa: S311  no secret
        log.warning("callback failed", url=callback.url, job=callback.run.id, tries=tries, error=error)
        await asyncio.to_thread(self.ledger.callback_retry, callback.id, time.time() + delay)


def message(run: Run, outputs: Sequence[StoredObject] = (), total: int = 0, summary: str = "") -> bytes:
    """Return the body that tells of an ended job, with what its last attempt wrote."""
    return msgspec.json.encode(
        {
            "id": run.id,
            "service": run.service,
            "state": run.state,
            "reason": run.reason,
            "provider": run.event.provider,
            "bucket": run.event.bucket,
            "key": _text(run.event.key),
            "revision": run.event.revision,
            "attempts": run.attempts,
            "finished": run.finished,
            "summary": summary,
            "outputs": [_output(one) for one in outputs],
            "outputs_total": max(total, len(outputs)),
        }
    )


def _output(one: StoredObject) -> dict[str, object]:
    key = _text(one.key)
    return {"provider": one.provider, "bucket": one.bucket, "key": key, "size": one.size, "etag": one.etag}


def _text(key: str) -> str:
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def signature(token: str, body: bytes) -> str:
    """Value of ``X-Oscar-Signature``."""
    return "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()
