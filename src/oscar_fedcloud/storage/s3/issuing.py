# SPDX-License-Identifier: Apache-2.0
"""Issue keys for services as MinIO service accounts, through its admin API. All methods block."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from urllib3 import PoolManager

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.storage.endpoints import HostAndScheme
from oscar_fedcloud.storage.s3.policy import same_policy

_AT_ONCE = 2  # concurrent calls; each derives keys by argon2, which takes 64 MiB and CPU time
_OURS = "OSCAR service "  # prefix of the descriptions of the invoker's accounts


def admin_client(config: ProviderConfig, pool: PoolManager) -> MinioAdmin:
    """Create a client of MinIO's admin API."""
    address = HostAndScheme.of(config.endpoint)
    return MinioAdmin(
        endpoint=address.host,
        credentials=StaticProvider(config.access_key, config.secret_key),
        region=config.region,
        secure=address.secure,
        http_client=pool,
    )


class KeyIssuer:
    """Manages the invoker's accounts at one store. Raises the client's errors."""

    def __init__(self, admin: MinioAdmin) -> None:
        self._admin = admin
        self._calls = threading.BoundedSemaphore(_AT_ONCE)

    def refusal(self) -> str:
        """Return why the store cannot issue keys, or "". Raises OSError and HTTPError if it does not answer."""
        try:
            with self._calls:
                info = json.loads(self._admin.info())
        except MinioAdminException as error:
            said = str(error).partition(", Body")[0]
            if "Status: 5" in said:
                raise  # it may be starting
            return f"it has no admin API of MinIO, or none for this key ({said})"
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            return f"it has no admin API of MinIO ({type(error).__name__})"
        return "" if isinstance(info, dict) else "it has no admin API of MinIO"

    def ensure(self, service: Service, policy: dict[str, Any], known: Credential | None) -> Credential:
        """Return a key with exactly this policy: the known one if it still exists, else a new one."""
        with self._calls:
            if known and (current := self._account(known.access_key)):
                if not same_policy(current["policy"], policy) or current["status"] != "on":
                    self._admin.update_service_account(access_key=known.access_key, policy=policy, status="enabled")
                return known
            answer = self._admin.add_service_account(policy=policy, description=f"{_OURS}{service.name}")
            made = json.loads(answer)["credentials"]
            return Credential(made["accessKey"], made["secretKey"])

    def drop(self, known: Credential) -> None:
        """Delete a key. An unknown key is no error."""
        try:
            self._admin.delete_service_account(known.access_key)
        except MinioAdminException as error:
            if not _unknown_account(error):
                raise

    def is_ours(self, access_key: str) -> bool:
        """Return whether the invoker issued this key, rather than the service declared it."""
        with self._calls:
            account = self._account(access_key)
        return account is not None and str(account["description"]).startswith(_OURS)

    def _account(self, access_key: str) -> dict[str, Any] | None:
        """Return policy (as data), status and description of a service account, or None."""
        try:
            info = json.loads(self._admin.get_service_account(access_key))
        except MinioAdminException as error:
            if _unknown_account(error):
                return None
            raise
        policy = {} if info.get("impliedPolicy") else msgspec.json.decode(info.get("policy") or "{}")
        return {"policy": policy, "status": info.get("accountStatus"), "description": info.get("description", "")}


def _unknown_account(error: MinioAdminException) -> bool:
    return "XMinioInvalidIAMCredentials" in str(error)
