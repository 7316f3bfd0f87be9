# SPDX-License-Identifier: Apache-2.0
"""Posts a message to a URL that a user chose: to an address that was checked, for a limited time, reading no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from oscar_fedcloud.catalogue.callback_addresses import Address, Network, addresses_of, chosen
from oscar_fedcloud.runtime.threads import Threads
from oscar_fedcloud.runtime.waiting import in_words

if TYPE_CHECKING:
    import httpx

TIMEOUT = 10.0  # s for all of it: the name, the connection, the request and the head of the answer
_RESOLVERS = 32  # look-ups at the same time; one that hangs holds up only its own callback
_SHOWN = 300  # characters of an error


class Poster:
    """Belongs to the event loop. allowed: networks that a message may go to, besides public addresses."""

    def __init__(self, allowed: Sequence[Network], resolve: Callable[[str, int], list[Address]] = addresses_of) -> None:
        self.allowed = allowed
        self._resolve = resolve
        self._resolvers = Threads(_RESOLVERS, "resolver")
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Send a message; why the URL did not take it, or ""."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._post(url, body, headers)
        except TimeoutError:
            return f"no answer within {TIMEOUT:g} s"
        except Exception as error:  # whatever the URL, the resolver or the answer holds
            return in_words(error)[:_SHOWN]

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        import httpx  # here, as is the client: most sites have no callbacks, and both take a while to begin

        target = httpx.URL(url)
        port = target.port or (443 if target.scheme == "https" else 80)
        found = await self._resolvers.run(self._resolve, target.host, port)
        addresses, why = chosen(found, self.allowed)
        if not addresses:
            return f"not sent: {why}"
        if self._client is None:
            self._client = _client()
        for number, address in enumerate(addresses):
            try:
                return await self._post_to(self._client, target, address, body, headers)
            except httpx.ConnectError:
                if number + 1 == len(addresses):
                    raise
        return why

    async def _post_to(
        self, client: httpx.AsyncClient, target: httpx.URL, address: Address, body: bytes, headers: Mapping[str, str]
    ) -> str:
        """Send to this very address, whatever the name stands for by now, and look only at the status of the answer."""
        pinned = target.copy_with(host=str(address))
        sent = {**headers, "Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        extensions = {"sni_hostname": target.host} if target.scheme == "https" else {}
        async with client.stream("POST", pinned, content=body, headers=sent, extensions=extensions) as answer:
            if answer.is_success:
                return ""
            more = ", and redirections are not followed" if answer.is_redirect else ""
            return f"it answered {answer.status_code}{more}"

    async def close(self) -> None:
        """Let go of everything."""
        self._resolvers.close()
        if self._client is not None:
            await self._client.aclose()


def _client() -> httpx.AsyncClient:
    """No connection is kept or waited for, and no proxy is used: it would look up the name by itself."""
    import httpx

    return httpx.AsyncClient(
        verify=httpx.create_ssl_context(),
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )
