# SPDX-License-Identifier: Apache-2.0
"""Posts a message to a URL chosen by a user: to a checked address, with a time limit, without reading the response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from oscar_fedcloud.catalogue.callback_addresses import Address, Network, addresses_of, chosen
from oscar_fedcloud.runtime.threads import Threads
from oscar_fedcloud.runtime.waiting import in_words

if TYPE_CHECKING:
    import httpx

TIMEOUT = 10.0  # s for everything: name resolution, connection, request and response header
_RESOLVERS = 32  # concurrent look-ups; one that hangs delays only its own callback
_SHOWN = 300  # characters of an error


class Poster:
    """Posts messages. Must be used on the event loop.

    Args:
        allowed: networks that messages may be sent to, in addition to public addresses.
    """

    def __init__(self, allowed: Sequence[Network], resolve: Callable[[str, int], list[Address]] = addresses_of) -> None:
        self.allowed = allowed
        self._resolve = resolve
        self._resolvers = Threads(_RESOLVERS, "resolver")
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Send a message; return why it was not accepted, or ""."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._post(url, body, headers)
        except TimeoutError:
            return f"no answer within {TIMEOUT:g} s"
        except Exception as error:  # whatever the URL, the resolver or the response contains
            return in_words(error)[:_SHOWN]

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        import httpx  # imported here, since most sites have no callbacks and both are slow to load

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
        """Send to this address, whatever the name resolves to by now, and read only the status of the response."""
        pinned = target.copy_with(host=str(address))
        sent = {**headers, "Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        extensions = {"sni_hostname": target.host} if target.scheme == "https" else {}
        async with client.stream("POST", pinned, content=body, headers=sent, extensions=extensions) as answer:
            if answer.is_success:
                return ""
            more = ", and redirections are not followed" if answer.is_redirect else ""
            return f"it answered {answer.status_code}{more}"

    async def close(self) -> None:
        """Release all resources."""
        self._resolvers.close()
        if self._client is not None:
            await self._client.aclose()


def _client() -> httpx.AsyncClient:
    """Return a client that keeps no connections and uses no proxy, which would resolve the name itself."""
    import httpx

    return httpx.AsyncClient(
        verify=httpx.create_ssl_context(),
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )
