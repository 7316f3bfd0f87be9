# SPDX-License-Identifier: Apache-2.0
"""Posts each ended job to the URL that its service names: at least once, signed, in any order.

The request is a POST of the job as JSON. ``X-Oscar-Signature: sha256=<hex>`` is the HMAC-SHA256 of the body with the
service's token, by which the receiver can verify the sender.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
import structlog

from oscar_fedcloud.callbacks.posting import Poster
from oscar_fedcloud.catalogue.callback_addresses import Network
from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.dispatch.decisions import backoff
from oscar_fedcloud.domain.runs import Run, StoredObject
from oscar_fedcloud.ledger import Callback, Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import wait

log = structlog.get_logger(__name__)

_BATCH = 50
_AT_ONCE = 256  # concurrent messages
_EACH = 2  # concurrent messages to one receiver
_LOOKS = 100  # reads of the outbox in a row, each skipping receivers that are busy
_OUTPUTS = 1000  # outputs of a job in a message
_FIRST_WAIT, _LONGEST_WAIT, _TRIES = 5.0, 3600.0, 20
_PAUSE = 5.0  # s between checks when nothing wakes the sender


class Callbacks:
    """Sends the messages in the ledger's outbox, signed with the token of the job's service.

    Each message is sent in its own task, with a limit for each receiver, so that a slow receiver delays no other.
    """

    def __init__(self, ledger: Ledger, catalogue: Catalogue, networks: Sequence[Network] = ()) -> None:
        self.ledger = ledger
        self.catalogue = catalogue
        self.wake = asyncio.Event()
        self.poster = Poster(networks)
        self._sending: dict[int, asyncio.Task[None]] = {}  # id of the message -> its task
        self._receivers: Counter[str] = Counter()  # receiver -> concurrent messages

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                try:
                    await self._send_due()
                except LedgerUnavailable as error:
                    log.warning("ledger unavailable, callbacks pause", error=str(error))
                await wait(self.wake, _PAUSE)
                self.wake.clear()
        finally:
            for task in self._sending.values():
                task.cancel()

    async def close(self) -> None:
        """Close the connections."""
        await self.poster.close()

    async def _send_due(self) -> None:
        """Start sending messages that are due and whose receiver is not busy."""
        busy: set[str] = set()  # URLs
        for _ in range(_LOOKS):
            if len(self._sending) >= _AT_ONCE:
                return
            due = await asyncio.to_thread(
                self.ledger.callbacks_due, time.time(), _BATCH, tuple(self._sending), tuple(busy)
            )
            for callback in due:
                if callback.id not in self._sending and not self._begin(callback):
                    busy.add(callback.url)
            if len(due) < _BATCH:
                return

    def _begin(self, callback: Callback) -> bool:
        """Send a message in a task, unless its receiver has reached its limit."""
        receiver = receiver_of(callback.url)
        if self._receivers[receiver] >= _EACH or len(self._sending) >= _AT_ONCE:
            return False
        self._receivers[receiver] += 1
        task = asyncio.create_task(self._guarded(callback), name=f"callback {callback.id}")
        self._sending[callback.id] = task

        def ended(_: object) -> None:
            del self._sending[callback.id]
            self._receivers[receiver] -= 1
            if not self._receivers[receiver]:
                del self._receivers[receiver]
            self.wake.set()

        task.add_done_callback(ended)
        return True

    async def _guarded(self, callback: Callback) -> None:
        """Send a message. A failure delays this message and affects no other."""
        try:
            await self._send(callback)
        except LedgerUnavailable as error:
            log.warning("callback not handled, retrying", job=callback.run.id, error=str(error))
            await asyncio.sleep(_PAUSE)
        except Exception as error:
            report(log, "callback not handled, retrying", error, job=callback.run.id)
            await asyncio.sleep(_PAUSE)

    async def _send(self, callback: Callback) -> None:
        token = self.catalogue.token_of(callback.run.service)
        if not token:  # the service is gone, and with it the secret for the signature
            await asyncio.to_thread(self.ledger.callback_done, callback.id)
            return
        body = await asyncio.to_thread(self._message, callback.run)
        headers = {"Content-Type": "application/json", "X-Oscar-Signature": signature(token, body)}
        if error := await self.poster.post(callback.url, body, headers):
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

    async def _postpone(self, callback: Callback, error: str) -> None:
        tries = callback.tries + 1
        if tries >= _TRIES:
            log.error("callback given up", url=callback.url, job=callback.run.id, tries=tries, error=error)
            await asyncio.to_thread(self.ledger.callback_done, callback.id)
            return
        delay = backoff(_FIRST_WAIT, _LONGEST_WAIT, tries, random.random())  # noqa: S311  no secret
        log.warning("callback failed", url=callback.url, job=callback.run.id, tries=tries, error=error)
        await asyncio.to_thread(self.ledger.callback_retry, callback.id, time.time() + delay)


def receiver_of(url: str) -> str:
    """Return the receiver of a URL: its scheme, host and port."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    except ValueError:
        return url


def message(run: Run, outputs: Sequence[StoredObject] = (), total: int = 0, summary: str = "") -> bytes:
    """Return the message about an ended job, with the outputs of its last attempt."""
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
    """Return the value of ``X-Oscar-Signature``."""
    return "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()
