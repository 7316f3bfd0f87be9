# SPDX-License-Identifier: Apache-2.0
"""Authentication and authorisation. ``may`` is the only function that grants or refuses access."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.config import Config
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.fdl import match as match_inputs

Verb = Literal["read", "write", "start"]
Kind = Literal["public", "service", "job", "bucket", "site", "figures"]


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller. ``name`` is the administrator's user name, or the service whose token was presented."""

    kind: Literal["nobody", "service", "monitor", "admin"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource of a request. ``name`` is the service for kind ``service``.

    Attributes:
        declared: for starting a service by a storage event, the service.
        place: for starting a service by a storage event, the object (provider, bucket, key).
    """

    kind: Kind
    name: str = ""
    declared: Service | None = None
    place: tuple[str, str, str] | None = None


NOBODY = Identity("nobody")


def may(identity: Identity, verb: Verb, resource: Resource) -> bool:
    """Return whether this identity is allowed to do this.

    Everyone may read public resources. The administrator may do everything. A service's token may start its own
    service, and by a storage event only if the object is inside that service's inputs. The monitor's token may read
    metrics.
    """
    if resource.kind == "public":
        return verb == "read"
    if identity.kind == "admin":
        return True
    if identity.kind == "monitor":
        return verb == "read" and resource.kind == "figures"
    if identity.kind == "service" and verb == "start" and resource.kind == "service":
        return resource.name == identity.name and _inside(resource)
    return False


def _inside(resource: Resource) -> bool:
    if resource.place is None:
        return True
    return resource.declared is not None and match_inputs(resource.declared, *resource.place).kind != "no"


def identify(headers: Mapping[str, str], config: Config, catalogue: Catalogue) -> Identity:
    """Return the identity for these headers; anonymous if there are no credentials or wrong ones."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "basic":
            return _administrator(credentials.strip(), config)
        case "bearer":
            return _bearer(credentials.strip(), config, catalogue)
    return NOBODY


def challenge(headers: Mapping[str, str]) -> str:
    """Return the value of WWW-Authenticate for a 401."""
    if headers.get("authorization", "")[:7].lower() == "bearer ":
        return 'Bearer realm="oscar", error="invalid_token"'
    return 'Basic realm="oscar", charset="UTF-8"'


def _administrator(credentials: str, config: Config) -> Identity:
    try:
        user, _, password = base64.b64decode(credentials, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return NOBODY
    right_user = hmac.compare_digest(user, config.admin_user.encode())
    right_password = hmac.compare_digest(password, config.admin_password.encode())
    if right_user and right_password and config.admin_password:
        return Identity("admin", config.admin_user)
    return NOBODY


def _bearer(token: str, config: Config, catalogue: Catalogue) -> Identity:
    monitor = config.monitor_token
    if monitor and hmac.compare_digest(monitor.encode(), token.encode()):
        return Identity("monitor")
    name = catalogue.tokens.get(token) if token else None
    declared = catalogue.declared(name) if name else None
    if declared and hmac.compare_digest(declared.service.token.encode(), token.encode()):
        return Identity("service", declared.service.name)
    return NOBODY
