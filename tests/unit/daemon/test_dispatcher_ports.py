# SPDX-License-Identifier: Apache-2.0
"""A service may be removed at any moment: what the dispatcher asks of it is one look-up of one value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts.memory_site import Site, on_memory_site

from oscar_fedcloud.daemon.dispatcher_ports import InvokerPorts


class Removal:
    """A service that is removed right after it was looked up in any table."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.removed = False

    def of(self, table: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of the table that takes part."""
        removal = self

        class Vanishing(dict[str, Any]):
            def __contains__(self, name: object) -> bool:
                return self.get(str(name)) is not None

            def __getitem__(self, name: str) -> Any:
                if (found := self.get(name)) is None:
                    raise KeyError(name)
                return found

            def get(self, name: str, default: Any = None) -> Any:
                if name == removal.service:
                    if removal.removed:
                        return default
                    removal.removed = True
                return super().get(name, default)

        return Vanishing(table)


@pytest.mark.parametrize("state", ["ready", "pending"])
def test_a_service_that_is_removed_between_two_look_ups_ends_nothing(state: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc", retry={"infrastructure": 7})
        await site.ready("svc")
        catalogue: Any = site.invoker.catalogue
        if state != "ready":
            catalogue.set_state("svc", state, "")
        removal = Removal("svc")
        tables = [name for name, value in vars(catalogue).items() if isinstance(value, dict) and "svc" in value]
        for table in tables:
            setattr(catalogue, table, removal.of(getattr(catalogue, table)))
        part: Any = None
        found = InvokerPorts(catalogue, part, part, part, part).policy("svc")
        assert removal.removed
        if state == "ready":
            assert found is not None
            assert found.retry.infrastructure == 7
        else:
            assert found is None
        for table in tables:
            setattr(catalogue, table, {})
        assert InvokerPorts(catalogue, part, part, part, part).policy("svc") is None

    on_memory_site(tmp_path, story)
