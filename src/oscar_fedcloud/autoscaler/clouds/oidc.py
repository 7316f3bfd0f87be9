# SPDX-License-Identifier: Apache-2.0
"""Access tokens of an OpenID Connect provider such as EGI Check-in, refreshed in time.

Where a token comes from: a file that something else keeps fresh (oidc-agent, a cron job), a refresh token (RFC 6749
section 6), or a service account (client credentials, section 4.4). That a token is about to end and no new one can be
had is said early, while machines can still be asked for and, above all, removed.
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
_RETRY = 10.0  # s after a failed renewal, while the old token is still good
_LIFETIME = 300.0  # s; assumed where neither the answer nor the token says it


class OidcConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where access tokens come from: ``token_file``, or ``token_endpoint`` with a client."""

    token_file: str = ""  # a token that others keep fresh
    token_endpoint: str = ""  # e.g. https://aai.egi.eu/auth/realms/egi/protocol/openid-connect/token
    client_id: str = ""
    client_secret_file: str = ""  # public clients have none
    refresh_token_file: str = ""  # "" = client credentials; written back when the provider hands out another one
    scope: str = ""
    refresh_before: float = 600.0  # s before its end at which a token is renewed; at the latest at half its life
    alarm_before: float = 300.0  # s before its end from which on it is an error that it could not be renewed
    ca_file: str = ""  # authorities for the endpoint; "" = the system's

    def problems(self) -> list[str]:
        """What is wrong with it, in sentences."""
        if bool(self.token_file) == bool(self.token_endpoint):
            return ["oidc: give either token_file or token_endpoint"]
        if self.token_endpoint and not self.client_id:
            return ["oidc.client_id is empty: token_endpoint needs it"]
        if self.token_endpoint and not (self.client_secret_file or self.refresh_token_file):
            return ["oidc: token_endpoint needs client_secret_file, refresh_token_file or both"]
        return []


class TokenSource:
    """Hands out a token that is still valid. One for each cloud; calls may overlap."""

    def __init__(self, name: str, config: OidcConfig, clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._token = ""
        self._expires: float | None = None
        self._lifetime = 0.0  # that the token had when it came
        self._retry_at = 0.0
        self._refresh_token = ""  # one that the provider gave and that could not be written back
        self._renewing = asyncio.Lock()
        self._alarmed = float("-inf")

    def expires(self) -> float | None:
        """When the token in use ends; None = none fetched yet, or it does not say."""
        return self._expires

    async def token(self) -> str:
        """A valid access token. Raises CloudError when it cannot be had for good, CloudUnavailable for now."""
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
        """Fetch a new token; a failure counts only once the old one has ended."""
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
            raise CloudUnavailable(f"{self._name}: what {where} answered is no token: {error}") from error

    def _keep(self, refresh_token: str) -> None:
        """Providers may end a refresh token by its use, so the next one must outlive us."""
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
        """Raise the alarm, now and then, while the end is near."""
        left, now = self._left(), self._clock()
        if left < min(self._config.alarm_before, self._lifetime / 4) and now - self._alarmed >= _REMIND:
            self._alarmed = now
            log.error(
                "the credentials of a cloud end soon and are not renewed: from then on machines can be neither added "
                "nor removed; renew the refresh token or the token file",
                cloud=self._name,
                seconds_left=max(0, round(left)),
            )


class _Answer(msgspec.Struct, frozen=True):
    """What a token endpoint answers; more of it is of no use here."""

    access_token: str
    expires_in: float | None = None
    refresh_token: str = ""


def expiry(token: str) -> float | None:
    """The claim ``exp`` of a JWT, whose signature is not for us to check; None when there is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None


def trust(ca_file: str) -> ssl.SSLContext:
    """Whom an HTTP client trusts: a bundle of authorities, or the system's."""
    return ssl.create_default_context(cafile=ca_file or None)
