# SPDX-License-Identifier: Apache-2.0
"""The gRPC server for Cluster Autoscaler, with mutual TLS, or without TLS on loopback."""

from __future__ import annotations

import grpc
import grpc.aio
import msgspec

from oscar_fedcloud.autoscaler.clouds import secrets
from oscar_fedcloud.autoscaler.external.fleet import Fleet
from oscar_fedcloud.autoscaler.external.protos.externalgrpc_pb2_grpc import add_CloudProviderServicer_to_server
from oscar_fedcloud.autoscaler.external.service import CloudProvider
from oscar_fedcloud.config import ConfigError

_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")


class ExternalConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Settings of the server. Its clients may add and delete machines."""

    listen: str = "127.0.0.1:8086"
    certificate: str = ""  # PEM files, as in --cloud-config of Cluster Autoscaler: cert, key and cacert
    key_file: str = ""
    client_ca: str = ""  # CA of the accepted clients

    def check(self) -> None:
        """Raise ConfigError if the settings do not fit together."""
        given = [bool(self.certificate), bool(self.key_file), bool(self.client_ca)]
        if any(given) and not all(given):
            raise ConfigError("external: certificate, key_file and client_ca are needed together")
        if not any(given) and not self.listen.startswith(_LOOPBACK):
            needed = "without certificate, key_file and client_ca it must be an address of loopback"
            raise ConfigError(f"external.listen is {self.listen!r}; {needed}")


async def serve(fleet: Fleet, config: ExternalConfig) -> grpc.aio.Server:
    """Start the server; call ``stop(grace)`` to end it. Raises ConfigError, and CloudError for unreadable files."""
    config.check()
    server = grpc.aio.server()
    add_CloudProviderServicer_to_server(CloudProvider(fleet), server)  # type: ignore[no-untyped-call]
    try:
        if config.certificate:
            pair = (secrets.read(config.key_file).encode(), secrets.read(config.certificate).encode())
            authority = secrets.read(config.client_ca).encode()
            server.add_secure_port(
                config.listen, grpc.ssl_server_credentials([pair], authority, require_client_auth=True)
            )
        else:
            server.add_insecure_port(config.listen)
    except RuntimeError as error:
        raise ConfigError(f"external.listen is {config.listen!r}, which cannot be used: {error}") from error
    await server.start()
    return server
