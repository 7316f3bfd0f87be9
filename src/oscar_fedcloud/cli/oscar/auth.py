# SPDX-License-Identifier: Apache-2.0
"""Authentication of requests: a password, a token, or an access token of an OpenID Connect issuer."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oscar_fedcloud.cli.oscar.contexts import Context
from oscar_fedcloud.cli.oscar.errors import Denied, WrongUse

RENEW_BEFORE = 30.0  # s before an access token expires
DEFAULT_LIFE = 300.0  # s, if the issuer does not state the lifetime of a token


def authorization(context: Context) -> Callable[[], Mapping[str, str]]:
    """Return a function that returns the headers of a request.

    Raises WrongUse if a file of the context is unreadable.
    """
    if context.oidc_account or context.oidc_refresh_token:
        return AccessToken(context).headers
    if token := context.token or _secret(context, "token_file"):
        if not (token.isascii() and token.isprintable()):
            raise WrongUse(f"context {context.name}: the token holds characters that no token has; give it in one line")
        return lambda: {"Authorization": f"Bearer {token}"}
    if password := context.password or _secret(context, "password_file"):
        pair = base64.b64encode(f"{context.username}:{password}".encode()).decode("ascii")
        return lambda: {"Authorization": f"Basic {pair}"}
    return dict


def _secret(context: Context, name: str) -> str:
    file = getattr(context, name)
    if not file:
        return ""
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or ("it is not text" if isinstance(error, ValueError) else error)
        raise WrongUse(f"context {context.name}: {name} {file} cannot be read: {reason}") from error


class AccessToken:
    """An access token that is requested on first use and renewed before it expires."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def headers(self) -> Mapping[str, str]:
        """Return the headers of a request. Raises Denied."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._token, life = self._fetch()
                self._until = time.monotonic() + max(life - RENEW_BEFORE, 0.0)
            return {"Authorization": f"Bearer {self._token}"}

    def _fetch(self) -> tuple[str, float]:
        if self._context.oidc_account:
            return _from_agent(self._context.oidc_account), DEFAULT_LIFE
        return _from_issuer(self._context.oidc_refresh_token)


def _from_agent(account: str) -> str:
    """Return a token from oidc-agent. Raises Denied."""
    try:
        run = subprocess.run(["oidc-token", account], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Denied(f"oidc-agent gives no token for account {account}: {error}") from error
    if run.returncode != 0:
        raise Denied(f"oidc-agent gives no token for account {account}: {' '.join(run.stderr.split())}")
    return run.stdout.strip()


def _from_issuer(refresh_token: str) -> tuple[str, float]:
    """Return an access token for a refresh token, and its life in seconds. Raises Denied."""
    import httpx

    claims = _claims(refresh_token)
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    form |= {"client_id": str(claims.get("azp", "")), "scope": str(claims.get("scope", ""))}
    issuer = str(claims["iss"]).rstrip("/")
    try:
        answer = httpx.post(f"{issuer}/protocol/openid-connect/token", data=form, timeout=60)
        found = answer.json()
        return str(found["access_token"]), float(found.get("expires_in") or DEFAULT_LIFE)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise Denied(f"the issuer {issuer} gives no access token for the refresh token") from error


def _claims(token: str) -> Mapping[str, Any]:
    """Return the unverified claims of a JSON Web Token: the issuer that it names checks it. Raises Denied."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        if not str(claims["iss"]).startswith(("https://", "http://")):
            raise KeyError("iss")
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise Denied("the refresh token of the context names no issuer; it is no JSON Web Token") from error
    return dict(claims)
