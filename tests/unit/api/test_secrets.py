# SPDX-License-Identifier: Apache-2.0
"""What is read and written back unchanged stays unchanged, secrets too."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec import structs
from parts.api_invoker import ApiInvoker

from oscar_fedcloud.api.secrets import keep_hidden
from oscar_fedcloud.fdl import FdlError, parse_service, to_document

PROVIDERS = {
    "s3": {"lab": {"access_key": "lab-access", "secret_key": "lab-secret", "region": "eu-west-1"}},
    "minio": {
        "east": {"endpoint": "https://east", "access_key": "e-access", "secret_key": "e-secret", "region": "us-east-1"}
    },
}


@pytest.fixture
def rich(document: dict[str, Any]) -> dict[str, Any]:
    """A service with every kind of secret."""
    return {
        **document,
        "storage_providers": PROVIDERS,
        "clusters": {"peer": {"endpoint": "https://peer", "auth_user": "oscar", "auth_password": "peer-password"}},
        "labels": {"team": "blue"},
    }


async def test_a_document_read_under_v2_can_be_written_back(
    admin: httpx.AsyncClient, invoker: ApiInvoker, rich: dict[str, Any]
) -> None:
    await admin.put("/v2/services/grayify", json=rich)
    before = invoker.services()[0]
    shown = (await admin.get("/v2/services/grayify")).json()["document"]
    assert "lab-secret" not in str(shown)
    written = await admin.put("/v2/services/grayify", json=shown)
    assert written.status_code == 200
    plan = (await admin.post("/v2/services:apply", json={"services": [shown]})).json()
    assert plan["changed"] is False
    assert invoker.services()[0] == before


@pytest.mark.parametrize("show_store_keys", [True, False])
async def test_a_document_read_as_oscar_can_be_written_back(
    admin: httpx.AsyncClient, invoker: ApiInvoker, rich: dict[str, Any], show_store_keys: bool
) -> None:
    invoker.config = structs.replace(invoker.config, show_store_keys=show_store_keys)
    await admin.put("/v2/services/grayify", json=rich)
    before = invoker.services()[0]
    shown = (await admin.get("/system/services/grayify")).json()
    assert ("lab-secret" in str(shown)) is show_store_keys
    written = await admin.put("/system/services", json=shown)
    assert (written.status_code, written.text) == (204, "")
    assert invoker.services()[0] == before


async def test_one_field_changes_and_secrets_stay(
    admin: httpx.AsyncClient, invoker: ApiInvoker, rich: dict[str, Any]
) -> None:
    await admin.put("/v2/services/grayify", json=rich)
    shown = (await admin.get("/system/services/grayify")).json()
    await admin.put("/system/services", json={**shown, "memory": "1Gi"})
    after = invoker.services()[0].service
    assert after.memory == "1Gi"
    assert after.environment.secrets == {"API_KEY": "s3cr3t-value"}
    assert after.storage_providers["s3"]["lab"]["secret_key"] == "lab-secret"
    assert after.clusters["peer"]["auth_password"] == "peer-password"


@pytest.mark.parametrize("blank", ["", "hidden"])
def test_blank_and_hidden_keep_the_old_secret(document: dict[str, Any], blank: str) -> None:
    old = parse_service({**document, "token": "a" * 64})
    given = {**document, "token": blank, "environment": {"secrets": {"API_KEY": blank, "NEW": "new"}}}
    kept = keep_hidden(parse_service(given), old)
    assert kept.environment.secrets == {"API_KEY": "s3cr3t-value", "NEW": "new"}
    assert kept.token == "a" * 64


def test_a_secret_that_is_left_out_is_removed(document: dict[str, Any]) -> None:
    old = parse_service(document)
    kept = keep_hidden(parse_service({**document, "environment": {"secrets": {}}}), old)
    assert kept.environment.secrets == {}


def test_a_new_value_replaces_the_old_one(document: dict[str, Any]) -> None:
    old = parse_service(document)
    kept = keep_hidden(parse_service({**document, "environment": {"secrets": {"API_KEY": "other"}}}), old)
    assert kept.environment.secrets == {"API_KEY": "other"}


def test_only_secrets_are_kept(document: dict[str, Any]) -> None:
    old = parse_service({**document, "environment": {"variables": {"MODE": "hidden"}}})
    kept = keep_hidden(parse_service({**document, "environment": {"variables": {"MODE": ""}}}), old)
    assert kept.environment.variables == {"MODE": ""}


def test_a_hidden_secret_that_is_not_held_is_refused(document: dict[str, Any]) -> None:
    given = parse_service({**document, "environment": {"secrets": {"API_KEY": "hidden"}}, "token": "hidden"})
    with pytest.raises(FdlError) as error:
        keep_hidden(given, None, "services[3]")
    assert [problem.path for problem in error.value.problems] == ["services[3].environment.secrets.API_KEY"]


def test_a_new_service_has_no_hidden_token(document: dict[str, Any]) -> None:
    assert keep_hidden(parse_service({**document, "token": "hidden"}), None).token == ""


def test_what_only_answers_hold_is_taken_out(document: dict[str, Any]) -> None:
    site = {"endpoint": "https://s3", "access_key": "hidden", "secret_key": "hidden", "region": "us-east-1"}
    shown = {
        **document,
        "labels": {"oscar_service": "grayify", "team": "blue"},
        "storage_providers": {"minio": {"default": site, "east": PROVIDERS["minio"]["east"]}},
    }
    kept = to_document(keep_hidden(parse_service(shown), None))
    assert kept["labels"] == {"team": "blue"}
    assert list(kept["storage_providers"]["minio"]) == ["east"]


def test_a_label_of_ones_own_is_kept(document: dict[str, Any]) -> None:
    given = parse_service({**document, "labels": {"oscar_service": "another"}})
    assert keep_hidden(given, None).labels == {"oscar_service": "another"}
