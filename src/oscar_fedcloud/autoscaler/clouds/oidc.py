# SPDX-License-Identifier: Apache-2.0
"""Access tokens of an OpenID Connect provider such as EGI Check-in, renewed in time.

A token comes from a file that another program keeps up to date (oidc-agent, a cron job), from a refresh token (RFC 6749
section 6), or from a service account (client credentials, section 4.4). If a token is about to expire and cannot be
renewed, an error is logged early, while machines can still be requested and, above all, removed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
import time
from collections.abc import Callable

import httpx
import msgspec
import structlog

from oscar_fedcloud.autoscaler.clouds import secrets
from oscar_fedcloud.autoscaler.clouds.messages import reason
from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, CloudUnavailable

log = structlog.get_logger(__name__)

_REMIND = 300.0  # s between two alarms
_RETRY = 10.0  # s after a failed renewal while the old token is still valid
_LIFETIME = 300.0  # s; assumed if neither the answer nor the token states it


class OidcConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The source of access tokens: ``token_file``, or ``token_endpoint`` with a client."""

    token_file: str = ""  # a token that another program keeps up to date
    token_endpoint: str = ""  # e.g. https://aai.egi.eu/auth/realms/egi/protocol/openid-connect/token
    client_id: str = ""
    client_secret_file: str = ""  # public clients have none
    refresh_token_file: str = ""  # empty means client credentials; a new one from the provider is written back
    scope: str = ""
    refresh_before: float = 600.0  # s before its expiry at which a token is renewed; at the latest at half its lifetime
    alarm_before: float = 300.0  # s before its expiry from which a failed renewal is logged as an error
    ca_file: str = ""  # CA bundle for the endpoint; empty means the system's

    def problems(self) -> list[str]:
        """Return the problems of these settings, one sentence each."""
        if bool(self.token_file) == bool(self.token_endpoint):
            return ["oidc: give either token_file or token_endpoint"]
        if self.token_endpoint and not self.client_id:
            return ["oidc.client_id is empty: token_endpoint needs it"]
        if self.token_endpoint and not (self.client_secret_file or self.refresh_token_file):
            return ["oidc: token_endpoint needs client_secret_file, refresh_token_file or both"]
        return []


class TokenSource:
    """Provides a valid token. There is one for each cloud; calls may overlap."""

    def __init__(self, name: str, config: OidcConfig, clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._token = ""
        self._expires: float | None = None
        self._lifetime = 0.0  # of the token when it was received
        self._retry_at = 0.0
        self._refresh_token = ""  # a new one that could not be written back
        self._renewing = asyncio.Lock()
        self._alarmed = float("-inf")

    def expires(self) -> float | None:
        """Return when the current token expires, or None if there is none yet or it does not state its expiry."""
        return self._expires

    async def token(self) -> str:
        """Return a valid access token. Raises CloudUnavailable if there is none now, else CloudError."""
        async with self._renewing:
            if self._config.token_file:
                self._take(secrets.read(self._config.token_file), None)
            elif self._left() < min(self._config.refresh_before, self._lifetime / 2) or not self._token:
                await self._renew()
        self._watch()
        if self._left() <= 0:
            raise CloudUnavailable(f"{self._name}: the access token has expired and there is no new one")
        return self._token

    def _left(self) -> float:
        if not self._token:
            return 0.0
        return float("inf") if self._expires is None else self._expires - self._clock()

    def _take(self, token: str, lifetime: float | None) -> None:
        if token != self._token:
            self._token = token
            self._expires = expiry(token) or (self._clock() + lifetime if lifetime else None)
            self._lifetime = self._left()

    async def _renew(self) -> None:
        """Fetch a new token. A failure is raised only if the old one has expired."""
        if self._left() > 0 and self._clock() < self._retry_at:
            return
        try:
            answer = await self._fetch()
        except CloudError as error:
            if self._left() <= 0:
                raise
            self._retry_at = self._clock() + _RETRY
            log.warning("access token not renewed", cloud=self._name, left=round(self._left()), reason=str(error))
            return
        self._take(answer.access_token, answer.expires_in or _LIFETIME)
        if answer.refresh_token:
            self._keep(answer.refresh_token)

    async def _fetch(self) -> _Answer:
        config = self._config
        form = {"client_id": config.client_id, "grant_type": "client_credentials"}
        if config.refresh_token_file:
            form["grant_type"] = "refresh_token"
            form["refresh_token"] = self._refresh_token or secrets.read(config.refresh_token_file)
        if config.client_secret_file:
            form["client_secret"] = secrets.read(config.client_secret_file)
        if config.scope:
            form["scope"] = config.scope
        try:
            async with httpx.AsyncClient(verify=trust(config.ca_file), timeout=30.0) as client:
                response = await client.post(config.token_endpoint, data=form)
        except httpx.HTTPError as error:
            raise CloudUnavailable(f"{self._name}: {config.token_endpoint} does not answer: {error!r}") from error
        return self._read(response)

    def _read(self, response: httpx.Response) -> _Answer:
        where = self._config.token_endpoint
        if response.status_code >= 500 or response.status_code == 429:
            raise CloudUnavailable(f"{self._name}: {where} answered {response.status_code}")
        if response.status_code != 200:
            raise CloudError(f"{self._name}: {where} gave no token: {response.status_code} {reason(response.text)}")
        try:
            return msgspec.json.decode(response.content, type=_Answer)
        except msgspec.DecodeError as error:
            raise CloudUnavailable(f"{self._name}: the answer of {where} is not a token: {error}") from error

    def _keep(self, refresh_token: str) -> None:
        """Store a new refresh token, which replaces the used one and must survive a restart."""
        path = self._config.refresh_token_file
        if refresh_token == (self._refresh_token or secrets.read(path)):
            return
        try:
            secrets.replace(path, refresh_token)
            self._refresh_token = ""
        except OSError as error:
            self._refresh_token = refresh_token
            log.warning("new refresh token not written", cloud=self._name, file=path, reason=error.strerror)

    def _watch(self) -> None:
        """Log an error periodically while the expiry is near."""
        left, now = self._left(), self._clock()
        if left < min(self._config.alarm_before, self._lifetime / 4) and now - self._alarmed >= _REMIND:
            self._alarmed = now
            log.error(
                "the credentials of a cloud expire soon and are not renewed: machines can then be neither added "
                "nor removed; renew the refresh token or the token file",
                cloud=self._name,
                seconds_left=max(0, round(left)),
            )


class _Answer(msgspec.Struct, frozen=True):
    """The used fields of a token endpoint's answer."""

    access_token: str
    expires_in: float | None = None
    refresh_token: str = ""


def expiry(token: str) -> float | None:
    """Return the claim ``exp`` of a JWT without checking its signature, or None if there is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None


def trust(ca_file: str) -> ssl.SSLContext:
    """Return the TLS settings of an HTTP client that trusts this CA bundle, or the system's."""
    return ssl.create_default_context(cafile=ca_file or None)
