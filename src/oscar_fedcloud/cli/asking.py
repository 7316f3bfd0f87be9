# SPDX-License-Identifier: Apache-2.0
"""Asks a server for its plan for FDL files, without declaring the services."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import httpx

from oscar_fedcloud.cli.checking import CheckError, CheckResult, documents, with_answer

_TIMEOUT = 60.0  # s


def ask(server: str, username: str, results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results with the server's problems for all services together. Raises CommandError.

    The password or token is taken from the environment (OSCAR_PASSWORD, OSCAR_TOKEN), so that process lists do not show
    it.
    """
    token, password = os.environ.get("OSCAR_TOKEN", ""), os.environ.get("OSCAR_PASSWORD", "")
    headers = {"Accept": "application/problem+json, application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    auth = httpx.BasicAuth(username, password) if password and not token else None
    body = {"services": documents(results)}
    try:
        answer = httpx.post(
            f"{server.rstrip('/')}/v2/services:apply",
            params={"dry_run": "true"},
            json=body,
            headers=headers,
            auth=auth,
            timeout=_TIMEOUT,
        )
        document = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckError(f"{server} cannot be reached: {error or type(error).__name__}") from error
    except ValueError as error:
        raise CheckError(f"{server} does not answer as an invoker does; give the base URL of its API") from error
    return _heard(server, answer.status_code, document, results)


def _heard(server: str, status: int, document: Any, results: Sequence[CheckResult]) -> list[CheckResult]:
    if isinstance(document, dict) and status == 200:
        return with_answer(results, (), document.get("warnings", ()))
    if isinstance(document, dict) and document.get("errors"):
        return with_answer(results, document["errors"], ())
    detail = document.get("detail", "") if isinstance(document, dict) else ""
    raise CheckError(f"{server} does not make a plan (HTTP status {status}): {detail or 'no reason is given'}")
