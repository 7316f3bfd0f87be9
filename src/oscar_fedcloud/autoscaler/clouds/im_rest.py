# SPDX-License-Identifier: Apache-2.0
"""The REST API of the Infrastructure Manager 2.0 (https://imdocs.readthedocs.io, "REST API").

IM keeps no credentials of clouds: each request carries those of the auth file, in one header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from oscar_fedcloud.autoscaler.clouds import secrets
from oscar_fedcloud.autoscaler.clouds.messages import reason
from oscar_fedcloud.autoscaler.clouds.oidc import TokenSource, trust
from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, CloudUnavailable, NoRoom

_LINE_SEPARATOR = r"\n"  # these two characters
_TOKEN = "{access_token}"  # noqa: S105 - what it is replaced for in the auth file
_NO_ROOM = re.compile(r"quota|capacity|limit|exceeded|no valid host|not enough|insufficient|overlimit", re.IGNORECASE)


class Gone(CloudError):
    """The resource does not exist at IM, or no longer exists."""


class ImClient:
    """Requests to one IM server.

    The auth file is read for each request. ``{access_token}`` in it is replaced by the token from ``tokens``.
    """

    def __init__(
        self, name: str, url: str, auth_file: str, tokens: TokenSource | None, ca_file: str, timeout: float
    ) -> None:
        self._name = name
        self._auth_file = auth_file
        self._tokens = tokens
        self._http = httpx.AsyncClient(
            base_url=url, timeout=httpx.Timeout(timeout, connect=10.0), verify=trust(ca_file), trust_env=False
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def get(self, path: str) -> Any:
        """Return the decoded answer to a GET."""
        return await self._request("GET", path)

    async def post(self, path: str, body: Any, params: Mapping[str, str], limit: float) -> Any:
        """Send a RADL document as JSON. IM answers once the cloud has all its VMs, which may take minutes."""
        return await self._request(
            "POST",
            path,
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
            params=params,
            timeout=limit,
        )

    async def put(self, path: str) -> None:
        """Send an operation such as start or stop."""
        await self._request("PUT", path)

    async def delete(self, path: str, params: Mapping[str, str], limit: float) -> None:
        """Delete a resource. IM answers once it is done."""
        await self._request("DELETE", path, params=params, timeout=limit)

    async def _request(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": await self._credentials(), "Accept": "application/json"}
        headers |= options.pop("headers", {})
        try:
            response = await self._http.request(method, path, headers=headers, **options)
        except httpx.HTTPError as error:
            raise CloudUnavailable(f"{self._name}: IM does not answer {method} {path}: {_kind(error)}") from error
        if response.is_success:
            return self._decode(response)
        raise self._refusal(response, f"{self._name}: {method} {path}")

    def _decode(self, response: httpx.Response) -> Any:
        if not response.headers.get("Content-Type", "").startswith("application/json"):
            return None
        try:
            found = msgspec.json.decode(response.content)
        except (ValueError, RecursionError) as error:
            raise CloudUnavailable(f"{self._name}: the answer of IM is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise CloudUnavailable(f"{self._name}: the answer of IM is not a JSON object")
        return found

    @staticmethod
    def _refusal(response: httpx.Response, what: str) -> CloudError:
        """Classify an error by its message, because IM answers 400 to most failures, including missing capacity."""
        words = reason(_message(response))
        text = f"{what}: {response.status_code} {words}"
        if response.status_code >= 500:
            return CloudUnavailable(text)
        if response.status_code == 404:
            return Gone(text)
        return NoRoom(text) if is_no_room(words) else CloudError(text)

    async def _credentials(self) -> str:
        lines = [line.strip() for line in secrets.read(self._auth_file).splitlines()]
        text = _LINE_SEPARATOR.join(line for line in lines if line and not line.startswith("#"))
        if _TOKEN in text:
            if self._tokens is None:
                raise CloudError(f"{self._name}: {self._auth_file} has {_TOKEN}, but oidc is not configured")
            text = text.replace(_TOKEN, await self._tokens.token())
        return text


def is_no_room(words: str) -> bool:
    """Return whether a cloud's message means that it has no capacity or no quota."""
    return _NO_ROOM.search(words) is not None


def _message(response: httpx.Response) -> str:
    """Return the message in an error's body, which has one of two forms."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return response.text
    return str(body.get("message") or body.get("detail") or body) if isinstance(body, dict) else str(body)


def _kind(error: httpx.HTTPError) -> str:
    """Describe the error without the request, whose header holds the credentials."""
    return str(error) or type(error).__name__
