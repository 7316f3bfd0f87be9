# SPDX-License-Identifier: Apache-2.0
"""Counts what listings ask of a store."""

from __future__ import annotations

from typing import Any

import pytest

from oscar_fedcloud.storage.s3 import listing


def count_pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bucket of each page that is asked for from now on."""
    asked: list[str] = []
    page = listing._page

    def counted(client: Any, bucket: str, query: Any) -> Any:
        asked.append(bucket)
        return page(client, bucket, query)

    monkeypatch.setattr(listing, "_page", counted)
    return asked
