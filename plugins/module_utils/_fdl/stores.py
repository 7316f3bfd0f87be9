# SPDX-License-Identifier: BSD-2-Clause

"""Access to stores and to other clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .containers import MapOf, Plain
from .forms import IDENTIFIER, IDENTIFIER_RULE
from .kinds import Bool, Text, Url
from .table import spec

_FULL = Text(optional=False)


@dataclass(frozen=True)
class MinioProvider:
    """A MinIO server. `minio.default` is the server's own store: it need not be declared, and cannot be set here."""

    PRIVATE: ClassVar[bool] = True
    endpoint: str = spec(Url(), "", "2.0", "Address of the S3 API.", required=True)
    verify: bool = spec(Bool(), True, "2.0", "Whether certificates are verified.")
    access_key: str = spec(_FULL, "", "2.0", "Access key.", required=True)
    secret_key: str = spec(_FULL, "", "2.0", "Secret key.", required=True, secret=True)
    region: str = spec(Text(), "us-east-1", "2.0", "Region.")


@dataclass(frozen=True)
class S3Provider:
    """Amazon S3, or another store with its API."""

    PRIVATE: ClassVar[bool] = True
    access_key: str = spec(_FULL, "", "2.0", "Access key.", required=True)
    secret_key: str = spec(_FULL, "", "2.0", "Secret key.", required=True, secret=True)
    region: str = spec(Text(), "us-east-1", "2.0", "Region.")
    endpoint: str = spec(Url(), "", "fedcloud", "Address of the S3 API; when empty, that of Amazon.")
    verify: bool = spec(Bool(), True, "fedcloud", "Whether certificates are verified.")


@dataclass(frozen=True)
class OnedataProvider:
    """A Onedata space."""

    PRIVATE: ClassVar[bool] = True
    oneprovider_host: str = spec(_FULL, "", "2.0", "Host of the Oneprovider.", required=True)
    token: str = spec(_FULL, "", "2.0", "Access token.", required=True, secret=True)
    space: str = spec(_FULL, "", "2.0", "Name of the space.", required=True)


@dataclass(frozen=True)
class WebdavProvider:
    """A WebDAV server, such as dCache."""

    PRIVATE: ClassVar[bool] = True
    hostname: str = spec(_FULL, "", "2.6", "Host, reached by https.", required=True)
    login: str = spec(_FULL, "", "2.6", "User name.", required=True)
    password: str = spec(_FULL, "", "2.6", "Password.", required=True, secret=True)


@dataclass(frozen=True)
class RucioProvider:
    """A Rucio server."""

    PRIVATE: ClassVar[bool] = True
    host: str = spec(_FULL, "", "3", "Host of the server.", required=True)
    auth_host: str = spec(_FULL, "", "3", "Host of the authentication server.", required=True)
    account: str = spec(_FULL, "", "3", "Account.", required=True)
    rse: str = spec(_FULL, "", "3", "Rucio storage element.", required=True)
    refresh_token: str = spec(_FULL, "", "3", "OIDC refresh token.", required=True, secret=True)
    oidc_audience: str = spec(Text(), "", "3", "OIDC audience.")
    token_endpoint: str = spec(Url(), "", "3", "Token endpoint of the OIDC issuer.")


def _by_id(record: type) -> MapOf:
    return MapOf(Plain(record), IDENTIFIER, IDENTIFIER_RULE)


@dataclass(frozen=True)
class StorageProviders:
    """Access to stores, by type and id."""

    PRIVATE: ClassVar[bool] = True
    s3: Mapping[str, Any] = spec(_by_id(S3Provider), {}, "2.0", "S3 stores by id.")
    minio: Mapping[str, Any] = spec(_by_id(MinioProvider), {}, "2.0", "MinIO servers by id.")
    onedata: Mapping[str, Any] = spec(_by_id(OnedataProvider), {}, "2.0", "Onedata spaces by id.")
    webdav: Mapping[str, Any] = spec(_by_id(WebdavProvider), {}, "2.6", "WebDAV servers by id.")
    rucio: Mapping[str, Any] = spec(_by_id(RucioProvider), {}, "3", "Rucio servers by id.")


@dataclass(frozen=True)
class Cluster:
    """Another OSCAR cluster that jobs are delegated to."""

    PRIVATE: ClassVar[bool] = True
    endpoint: str = spec(Url(), "", "2.5", "Address of its API.", required=True)
    auth_user: str = spec(Text(), "", "2.5", "User name.")
    auth_password: str = spec(Text(), "", "2.5", "Password.", secret=True)
    ssl_verify: bool = spec(Bool(), True, "2.5", "Whether certificates are verified.")


STORAGE_PROVIDERS = Plain(StorageProviders, sparse=True)
CLUSTERS = MapOf(Plain(Cluster))
