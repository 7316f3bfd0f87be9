# SPDX-License-Identifier: Apache-2.0
"""Address and credentials of the cluster, from a kubeconfig or from the service account of the Pod."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml

from oscar_fedcloud.kube.errors import KubeConfigError

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration


async def load_access(kubeconfig: str, context: str) -> Configuration:
    """Read a kubeconfig, or the Pod's service account if it is empty. Raises KubeConfigError."""
    try:
        return await _load(kubeconfig, context)
    except ImportError as error:
        raise KubeConfigError("kubernetes_asyncio is not installed: install oscar-fedcloud[kubernetes]") from error


async def _load(kubeconfig: str, context: str) -> Configuration:
    # imported lazily: the library takes half a second to load, and only daemons in a cluster need it
    await asyncio.to_thread(__import__, "kubernetes_asyncio.config")
    from kubernetes_asyncio import client, config

    access = client.Configuration()
    where = f"kubeconfig {kubeconfig}" if kubeconfig else "the access of a Pod (no kubeconfig is given)"
    try:
        if kubeconfig:
            await config.load_kube_config(
                kubeconfig, context or None, client_configuration=access, persist_config=False
            )
        else:
            config.load_incluster_config(client_configuration=access)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        raise KubeConfigError(f"{where} cannot be used: {error}") from error
    access.api_key = {name: value.strip() for name, value in access.api_key.items()}  # a file ends with a newline
    access.proxy = access.proxy or _proxy_of(access.host or "")
    return access


def _proxy_of(host: str) -> str | None:
    """Return the proxy for this address from the environment. Looked up once, not for each request."""
    parts = urlsplit(host)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def tls_of(access: Configuration) -> ssl.SSLContext:
    """Return the TLS settings, with the client certificate if there is one. Raises KubeConfigError."""
    try:
        context = ssl.create_default_context(cafile=access.ssl_ca_cert)
        if access.cert_file:
            context.load_cert_chain(access.cert_file, keyfile=access.key_file)
    except (OSError, ssl.SSLError) as error:
        raise KubeConfigError(f"a certificate of the kubeconfig cannot be used: {error}") from error
    if not access.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
