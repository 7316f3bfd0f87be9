# SPDX-License-Identifier: Apache-2.0
"""Wrong settings of clouds and templates: one sentence each, that names what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.command import CommandCloud, CommandConfig
from oscar_fedcloud.autoscaler.clouds.messages import hide, reason
from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, CloudUnavailable, MachineRequest, NoRoom
from oscar_fedcloud.autoscaler.clouds.quota import Quota, headroom_in
from oscar_fedcloud.config import ConfigError

IM = {"type": "im", "url": "http://127.0.0.1:8800", "infrastructure": "i", "auth_file": "a"}
OPENSTACK = {"type": "openstack", "auth_url": "http://127.0.0.1:5000/v3"}
CREDENTIAL = {"application_credential_id": "i", "application_credential_secret_file": "s"}
OIDC = {"token_endpoint": "http://127.0.0.1/token", "client_id": "c", "refresh_token_file": "r"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "type"),
        ({"type": "aws"}, "aws"),
        ({"type": "command", "add": ["a"], "list": ["b"]}, "remove"),
        ({"type": "command", "add": ["a"], "list": ["b"], "remove": []}, "remove is empty"),
        ({**IM, "passwort": "x"}, "passwort"),
        ({**IM, "url": "im.example.org"}, "url is 'im.example.org'"),
        ({**IM, "infrastructure": "http://x/infrastructures/1"}, "infrastructure is"),
        ({**IM, "oidc": {"token_file": "t", "token_endpoint": "e"}}, "either token_file or token_endpoint"),
        ({**IM, "oidc": {**OIDC, "client_id": ""}}, "oidc.client_id is empty"),
        (OPENSTACK, "either application_credential_id or oidc"),
        ({**OPENSTACK, **CREDENTIAL, "oidc": OIDC}, "either application_credential_id or oidc"),
        ({**OPENSTACK, "application_credential_id": "i"}, "application_credential_secret_file is empty"),
        ({**OPENSTACK, "oidc": OIDC}, "project_id is empty"),
    ],
)
def test_wrong_settings_are_said_in_one_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build("site", "c1", settings)
    assert str(caught.value).startswith("clouds.site: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [IM, {**IM, "oidc": OIDC}, {**OPENSTACK, **CREDENTIAL}])
def test_right_settings_make_a_cloud_without_connecting(settings: dict[str, Any]) -> None:
    assert build("site", "c1", settings).name == "site"


@pytest.mark.parametrize(
    ("settings", "template", "words"),
    [
        (IM, {}, "image"),
        (IM, {"image": "i", "memory": "1G"}, "memory"),
        (IM, {"image": "i", "networks": []}, "template.networks is empty"),
        ({**OPENSTACK, **CREDENTIAL}, {"image": "i", "flavor": "f"}, "networks"),
        (
            {**OPENSTACK, **CREDENTIAL},
            {"image": "i", "flavor": "f", "networks": ["n"], "boot_volume": {"size": 0}},
            "template.boot_volume.size is 0",
        ),
    ],
)
def test_a_wrong_template_is_said_in_a_sentence(settings: dict[str, Any], template: Any, words: str) -> None:
    (problem,) = build("site", "c1", settings).check(template)
    assert words in problem


@given(used=st.integers(0, 100), limit=st.integers(-1, 100), each=st.integers(1, 10), other=st.integers(0, 100))
def test_room_never_exceeds_a_quota_and_leaves_less_than_one_machine(
    used: int, limit: int, each: int, other: int
) -> None:
    room = headroom_in({"cores": Quota(used, limit), "ram": Quota(0, other)}, {"cores": each, "ram": 1, "disk": 5})
    assert room.machines is not None
    if limit >= 0:
        assert used + room.machines * each <= max(limit, used)
    assert room.machines <= other
    fits = (limit < 0 or used + (room.machines + 1) * each <= limit) and room.machines + 1 <= other
    assert not fits


def test_without_any_limit_room_is_not_known() -> None:
    assert headroom_in({"cores": Quota(5, -1)}, {"cores": 1}).machines is None


def test_a_reason_is_the_last_line_without_tokens() -> None:
    text = "Traceback\n  noise\nError: token abcdef.0123456789abcdef, eyJhbGciOi.eyJleHAiOjE.c2ln refused\n\n"
    assert reason(text) == "Error: token (token), (token) refused"
    assert len(reason("x" * 1000)) == 300
    assert hide("version 1.2, file a.b") == "version 1.2, file a.b"


def script(tmp_path: Path, body: str) -> list[str]:
    file = tmp_path / "script.sh"
    file.write_text(body)
    return ["/bin/sh", str(file)]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("echo wrong pool >&2; exit 65", CloudError, "wrong pool"),
        ("echo full >&2; exit 75", NoRoom, "full"),
        ("exit 1", CloudUnavailable, "exit status 1"),
        ("kill -9 $$", CloudUnavailable, "exit status -9"),
        ("echo nonsense", CloudUnavailable, "the output of add"),
        ("sleep 30", CloudUnavailable, "longer than 0.3 s"),
        ("cat >&2; exit 65", CloudError, "(token)"),
    ],
)
async def test_an_executable_that_fails(tmp_path: Path, body: str, kind: type[CloudError], words: str) -> None:
    command = tuple(script(tmp_path, body))
    cloud = CommandCloud("site", CommandConfig(add=command, list=command, remove=command, timeout=0.3), "c1")
    with pytest.raises(CloudError) as caught:
        await cloud.create([MachineRequest("c1-cpu-a", "cpu", {}, "token: abcdef.0123456789abcdef")])
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


async def test_what_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    command = tuple(script(tmp_path, f"(sleep 1; touch {tmp_path}/late) & sleep 30"))
    cloud = CommandCloud("site", CommandConfig(add=command, list=command, remove=command, timeout=0.3), "c1")
    with pytest.raises(CloudUnavailable):
        await cloud.delete(["a"])
    await asyncio.sleep(1.5)  # in which what is left would write its file
    assert not (tmp_path / "late").exists()


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = CommandConfig(add=("/nonexistent/add",), list=("/nonexistent/list",), remove=("/nonexistent/remove",))
    with pytest.raises(CloudError, match="/nonexistent/list: No such file"):
        await CommandCloud("site", config, "c1").open()


async def test_programs_get_the_credentials_that_are_named_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cloud-key").write_text("key of the cloud")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    monkeypatch.setenv("SITE_REGION", "here")
    script = f'env > {tmp_path}/seen; cat "$CLOUD_KEY" > {tmp_path}/key; echo \'{{"machines": []}}\''
    command = ("/bin/sh", "-c", script)
    config = CommandConfig(add=command, list=command, remove=command, secret_files={"CLOUD_KEY": "cloud-key"})
    await CommandCloud("site", config, "c1").machines()
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert (tmp_path / "key").read_text() == "key of the cloud"
    assert seen["SITE_REGION"] == "here"
    assert not {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(seen)


@pytest.mark.parametrize("name", ["", "a b", "1x", "CREDENTIALS_DIRECTORY"])
def test_a_name_that_is_no_variable_is_refused(name: str) -> None:
    config = CommandConfig(add=("a",), list=("a",), remove=("a",), secret_files={name: "cloud-key"})
    assert config.problems() == [
        f"secret_files has the name {name!r}, it must be that of a variable, such as CLOUD_KEY"
    ]
