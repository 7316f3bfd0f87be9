# SPDX-License-Identifier: Apache-2.0
"""Access tokens: renewed in time, an alarm before they end, and no secret in what is said."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts.asgi import AsgiServer
from parts.openstack import PROJECT, OpenStack
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.im_rest import ImClient
from oscar_fedcloud.autoscaler.clouds.oidc import OidcConfig, TokenSource, expiry
from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, CloudUnavailable


def jwt(ends: float, **claims: Any) -> str:
    """An access token as Check-in's; nobody here checks its signature."""
    parts = [{"alg": "none"}, {"exp": ends, **claims}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


class Provider:
    """A token endpoint. answer: what it says next; forms: what it was asked."""

    def __init__(self) -> None:
        self.lifetime = 3600.0
        self.extra: dict[str, Any] = {}
        self.status = 200
        self.forms: list[dict[str, str]] = []
        self.seen: list[str] = []
        routes = [Route("/token", self._token, methods=["POST"]), Route("/infrastructures/i", self._im)]
        self.server = AsgiServer(Starlette(routes=routes))

    async def _token(self, request: Request) -> Response:
        pairs = (await request.body()).decode().split("&")
        self.forms.append(dict(pair.split("=", 1) for pair in pairs))  # type: ignore[misc]
        if self.status != 200:
            return JSONResponse({"error": "invalid_grant", "error_description": "Token is not active"}, self.status)
        token = jwt(time.time() + self.lifetime, number=len(self.forms))
        return JSONResponse({"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer", **self.extra})

    async def _im(self, request: Request) -> Response:
        self.seen.append(request.headers["Authorization"])
        return JSONResponse({"uri-list": []})


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    with provider.server:
        yield provider


@pytest.fixture
def settings(provider: Provider, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "refresh").write_text("first-refresh-token\n")
    (tmp_path / "refresh").chmod(0o640)
    return {
        "token_endpoint": f"{provider.server.url}/token",
        "client_id": "oscar",
        "refresh_token_file": str(tmp_path / "refresh"),
    }


async def test_a_token_is_fetched_once_and_renewed_before_its_end(provider: Provider, settings: dict[str, Any]) -> None:
    now = time.time()
    source = TokenSource("site", OidcConfig(**settings), clock=lambda: now)
    first = await source.token()
    assert await source.token() == first
    assert source.expires() == pytest.approx(now + 3600, abs=5)
    now += 3600 - 599
    assert await source.token() != first
    assert len(provider.forms) == 2
    assert provider.forms[0]["grant_type"] == "refresh_token"


async def test_a_failed_renewal_counts_only_at_the_end_and_raises_an_alarm_before(
    provider: Provider, settings: dict[str, Any]
) -> None:
    now = time.time()
    source = TokenSource("site", OidcConfig(**settings), clock=lambda: now)
    first = await source.token()
    provider.status = 503
    now += 3600 - 400
    with capture_logs() as logs:
        assert await source.token() == first
    assert [entry["log_level"] for entry in logs] == ["warning"]
    now += 200
    with capture_logs() as logs:
        assert await source.token() == first
        assert await source.token() == first
    assert [entry["log_level"] for entry in logs] == ["warning", "error"]
    now += 300
    with pytest.raises(CloudUnavailable):
        await source.token()
    provider.status, provider.lifetime = 200, 7200
    assert await source.token() != first


async def test_a_short_lived_token_is_renewed_at_half_its_life(provider: Provider, settings: dict[str, Any]) -> None:
    now = time.time()
    provider.lifetime = 300
    source = TokenSource("site", OidcConfig(**settings), clock=lambda: now)
    first = await source.token()
    now += 140
    assert await source.token() == first
    now += 20
    assert await source.token() != first


async def test_a_refused_refresh_token_is_said_without_it(provider: Provider, settings: dict[str, Any]) -> None:
    provider.status = 400
    with capture_logs() as logs, pytest.raises(CloudError) as caught:
        await TokenSource("site", OidcConfig(**settings)).token()
    assert "Token is not active" in str(caught.value)
    assert "first-refresh-token" not in str(caught.value) + str(logs)


async def test_a_new_refresh_token_replaces_the_old_one_in_its_file(
    provider: Provider, settings: dict[str, Any], tmp_path: Path
) -> None:
    provider.extra = {"refresh_token": "second-refresh-token"}
    now = time.time()
    source = TokenSource("site", OidcConfig(**settings), clock=lambda: now)
    await source.token()
    assert (tmp_path / "refresh").read_text() == "second-refresh-token\n"
    assert stat.S_IMODE((tmp_path / "refresh").stat().st_mode) == 0o640
    now += 3300
    await source.token()
    assert [form["refresh_token"] for form in provider.forms] == ["first-refresh-token", "second-refresh-token"]


async def test_a_service_account_uses_its_secret(provider: Provider, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "client").write_text("client-secret\n")
    del settings["refresh_token_file"]
    await TokenSource("site", OidcConfig(**settings, client_secret_file=str(tmp_path / "client"))).token()
    assert provider.forms[0]["grant_type"] == "client_credentials"
    assert provider.forms[0]["client_secret"] == "client-secret"


async def test_a_token_file_that_others_renew_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenSource("site", OidcConfig(token_file=str(file)))
    with pytest.raises(CloudError, match="cannot be read"):
        await source.token()
    file.write_text(jwt(time.time() - 1))
    with pytest.raises(CloudUnavailable, match="expired"):
        await source.token()
    fresh = jwt(time.time() + 3600)
    file.write_text(fresh + "\n")
    assert await source.token() == fresh


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "e30.e30.x", jwt(0)[:20]])
def test_a_token_without_an_end_has_none(token: str) -> None:
    assert expiry(token) is None


async def test_im_gets_the_lines_of_the_auth_file_with_the_token_in_them(
    provider: Provider, settings: dict[str, Any], tmp_path: Path
) -> None:
    auth_file = tmp_path / "auth.dat"
    auth_file.write_text("# comment\nid = egi; type = EGI; token = {access_token}\n\nid = im; username = u\n")
    client = ImClient(
        "site", provider.server.url, str(auth_file), TokenSource("site", OidcConfig(**settings)), "", timeout=10.0
    )
    await client.get("/infrastructures/i")
    auth_file.write_text("id = im; username = other\n")
    await client.get("/infrastructures/i")
    await client.close()
    (first, second) = provider.seen
    lines = first.split(r"\n")
    assert lines[0].startswith("id = egi; type = EGI; token = ey")
    assert lines[1:] == ["id = im; username = u"]
    assert second == "id = im; username = other"


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")
async def test_openstack_logs_in_by_check_in_and_again_with_each_new_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    ends = time.time() + 3600
    with OpenStack() as site:
        tokens = [jwt(ends, number=1), jwt(ends, number=2)]
        site.state.access_tokens = set(tokens)
        file.write_text(tokens[0])
        settings = {
            "type": "openstack",
            "auth_url": site.auth_url,
            "project_id": PROJECT,
            "oidc": {"token_file": str(file)},
        }
        cloud = build("site", "c1", settings)
        await cloud.open()
        assert await cloud.machines() == []
        assert cloud.expires() == ends
        assert site.state.logins == 1
        file.write_text(tokens[1])
        assert await cloud.machines() == []
        assert site.state.logins == 2
        await cloud.close()

        file.write_text(jwt(ends, number=3))
        stranger = build("site", "c1", settings)
        with pytest.raises(CloudError) as caught:
            await stranger.open()
        assert "ey" not in str(caught.value)
        await stranger.close()
