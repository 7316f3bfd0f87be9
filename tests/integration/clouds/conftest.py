# SPDX-License-Identifier: Apache-2.0
"""Each cloud in turn, as an operator has it: the real IM, a stand-in for OpenStack, three executables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from parts.clouds import PLACES, Place


@pytest.fixture(scope="module", params=sorted(PLACES))
def running(request: pytest.FixtureRequest) -> Iterator[Place]:
    place = PLACES[request.param]()
    yield place
    place.close()


@pytest.fixture
def place(running: Place) -> Place:
    running.reset()
    return running
