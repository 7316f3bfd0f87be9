# SPDX-License-Identifier: Apache-2.0
"""Ten thousand random schedules on a model of a cluster: no running Job is ever killed, and all of them end."""

from __future__ import annotations

import random

import pytest
from parts.cluster_model import Cluster

from oscar_fedcloud.autoscaler.model import Rules

SCHEDULES, BATCHES = 10_000, 4


def play(seed: int, rules: Rules, steps: int = 200) -> Cluster:
    cluster = Cluster(random.Random(seed), rules)
    cluster.fill()
    cluster.run(steps)
    return cluster


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_running_job_is_killed_and_all_machines_go(batch: int) -> None:
    rules = Rules(unready_share=0.6)
    for seed in range(batch, SCHEDULES, BATCHES):
        cluster = play(seed, rules)
        assert not cluster.killed, f"schedule {seed} killed {cluster.killed}"
        assert cluster.done, f"schedule {seed} left Jobs waiting"
        assert not cluster.machines, f"schedule {seed} left machines: {list(cluster.machines)}"


def test_the_model_shows_it_when_the_pause_after_the_cordon_is_missing() -> None:
    """Without the pause, the scheduler still uses nodes that are about to go; so the test above can fail."""
    assert any(play(seed, Rules(cordon_pause=0.0, unready_share=0.6)).killed for seed in range(2000))
