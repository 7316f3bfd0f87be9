# SPDX-License-Identifier: Apache-2.0
"""The configuration is checked whole, and says in a sentence what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from oscar_fedcloud.autoscaler.cluster.backlog import BacklogUnavailable, InvokerAnswer
from oscar_fedcloud.autoscaler.config.loading import load
from oscar_fedcloud.autoscaler.config.settings import InvokerConfig
from oscar_fedcloud.autoscaler.machines.crd import manifest
from oscar_fedcloud.autoscaler.reload import keep_fixed
from oscar_fedcloud.config import ConfigError, read_secret

ROOT = Path(__file__).parents[4]


def document(**changes: Any) -> dict[str, Any]:
    return {
        "cluster": "oscar",
        "clouds": {"here": {"type": "command", "add": ["true"], "list": ["true"], "remove": ["true"]}},
        "pools": [pool()],
        **changes,
    }


def pool(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "cloud": "here",
        "template": {},
        "capacity": {"cpu": "3920m", "memory": "7.5Gi"},
        **changes,
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "autoscaler.yml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_quantities_of_a_node_are_exact_and_rounded_down(tmp_path: Path) -> None:
    [found] = load(write(tmp_path, document())).model_pools()
    assert dict(found.capacity) == {"cpu": 3920, "memory": 7680 * 2**20, "pods": 110}


def test_former_names_of_settings_are_accepted(tmp_path: Path) -> None:
    former = document(drain_limit=1.0, gone_limit=2.0, pools=[pool(start_limit=3.0)])
    found = load(write(tmp_path, former))
    assert (found.drain_timeout, found.missing_timeout, found.pools[0].startup_timeout) == (1.0, 2.0, 3.0)


WRONG = [
    (
        {"drain_limit": 1.0, "drain_timeout": 2.0},
        "drain_limit and drain_timeout are the same setting, remove drain_limit",
    ),
    ({"pools": [pool(start_limit=1.0, startup_timeout=1.0)]}, "start_limit and startup_timeout are the same setting"),
    ({"cluster": "Oscar"}, "cluster is 'Oscar', it must be lower-case"),
    ({"listen": "8090"}, "listen is '8090', it must be ADDRESS:PORT"),
    ({"cordon_pause": 1.0}, "cordon_pause is 1.0, it must be at least 5 seconds"),
    ({"unready_share": 0.0}, "unready_share is 0.0, it must be above 0"),
    ({"scan_interval": 0.0}, "scan_interval is 0.0, it must be more than 0"),
    ({"limits": {"cpu": "many"}}, "limits.cpu is 'many', it must be a quantity such as 4"),
    ({"pools": [pool(), pool()]}, "pools has two pools of the name 'small'"),
    ({"pools": [pool(cloud="there")]}, "pools.small.cloud is 'there', it must be one of clouds: here"),
    ({"pools": [pool(min=3, max=2)]}, "pools.small.min is 3, it must be between 0 and max, which is 2"),
    ({"pools": [pool(capacity={"cpu": 1})]}, "pools.small.capacity has no memory"),
    (
        {"pools": [pool(capacity={"cpu": "x", "memory": "1Gi"})]},
        "pools.small.capacity.cpu is 'x', it must be a quantity",
    ),
    ({"pools": [pool(labels={"node-role.kubernetes.io/worker": ""})]}, "which a node may not give itself"),
    ({"pools": [pool(timezone="Mars", minimums=[{"cron": "0 8 * * *", "min": 1}])]}, "timezone 'Mars' is not known"),
    ({"pools": [pool(minimums=[{"cron": "often", "min": 1}])]}, "pools.small.minimums: 'often' is not a schedule"),
    ({"pools": [pool(stop_instead=True)]}, "the cloud here cannot stop machines"),
    ({"pools": [pool(name="x" * 60)]}, "too long together for a host name"),
    ({"pools": [pool(price=-1.0)]}, "pools.small.price is -1.0, it must be 0 or more"),
    ({"join": {"server": "https://10.0.0.1"}}, "join.server is 'https://10.0.0.1', it must be HOST:PORT"),
    ({"join": {"ca_hashes": ["abc"]}}, "join.ca_hashes has 'abc', it must be sha256:"),
    ({"join": {"files": {"etc/x": ""}}}, "join.files has the path 'etc/x', it must be an absolute one"),
    ({"clouds": {"here": {"type": "moon"}}}, "clouds.here"),
    ({"pols": []}, "pols"),
    (
        {"invoker": {"url": "http://127.0.0.1:8080"}},
        "invoker needs either token_file (the monitor token) or password_file",
    ),
    (
        {"invoker": {"url": "http://127.0.0.1:8080", "token_file": "t", "password_file": "p"}},
        "invoker needs either token_file (the monitor token) or password_file",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, document(**changes)))
    assert sentence in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, document(cluster="Oscar", pools=[pool(min=-1), pool(name="gpu", cloud="there")])))
    assert len(str(caught.value).splitlines()) == 3


def test_labels_that_a_kubelet_may_give_itself_are_no_problem(tmp_path: Path) -> None:
    labels = {"node.kubernetes.io/kind": "a", "example.org/b": "c"}
    (found,) = load(write(tmp_path, document(pools=[pool(labels=labels)]))).pools
    assert found.labels == labels


def test_a_reload_leaves_what_only_a_restart_changes(tmp_path: Path) -> None:
    former = load(write(tmp_path, document(listen="127.0.0.1:8090")))
    wanted = load(write(tmp_path, document(listen="127.0.0.1:8091", pools=[pool(max=99)])))
    kept = keep_fixed(former, wanted)
    assert kept.listen == "127.0.0.1:8090"
    assert kept.pools[0].max == 99


def test_secrets_are_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "invoker-password").write_text("swordfish\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("invoker-password") == "swordfish"
    with pytest.raises(ConfigError, match="secret file nothing cannot be read"):
        read_secret("nothing")


def test_the_role_applies_the_definition_of_this_version() -> None:
    assert (ROOT / "roles/autoscaler/files/kubernetes/crd.yaml").read_text() == manifest()


def test_the_invoker_is_asked_with_the_monitor_token_or_as_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "secret").write_text("swordfish\n")
    assert InvokerConfig(url="http://a", token_file="secret").authorization() == "Bearer swordfish"
    basic = InvokerConfig(url="http://a", password_file="secret").authorization()
    assert basic == "Basic b3NjYXI6c3dvcmRmaXNo"
    (tmp_path / "secret").write_text("rotated\n")
    assert InvokerConfig(url="http://a", token_file="secret").authorization() == "Bearer rotated"


async def test_a_secret_that_is_gone_ends_nothing() -> None:
    invoker = InvokerAnswer("http://127.0.0.1:9", InvokerConfig(url="", token_file="/nonexistent/token").authorization)
    with pytest.raises(BacklogUnavailable, match="secret file /nonexistent/token cannot be read"):
        await invoker.rows()
    await invoker.close()
