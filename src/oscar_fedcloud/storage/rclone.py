# SPDX-License-Identifier: Apache-2.0
"""How rclone reaches a store (environment variables: no file, no key on a command line), and how it writes keys.

rclone works on names in an encoding of its own, in which e.g. a newline is U+240A and U+201B quotes such signs. Without
an encoding at both ends (``Raw``), and with keys in that form as arguments, every key that a store takes comes through.
https://rclone.org/overview/#encoding
"""

from __future__ import annotations

import re

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.stores import Credential

_FLAVOURS = {"minio": "Minio", "folder": "Rclone", "s3": "Other"}
UNVERIFIED, BUNDLE = "OSCAR_UNVERIFIED_", "OSCAR_CA_"  # before a remote: do not check its certificate; by this file
_QUOTE = "\u201b"
_PICTURES = 0x2400  # where Unicode shows the control characters
_SIGNS = {code: chr(_PICTURES + code) for code in range(0x20)} | {0x7F: "\u2421"}
_QUOTED = {ord(sign): _QUOTE + sign for sign in (*_SIGNS.values(), "\uff0f", _QUOTE)}
_ENCODING = _SIGNS | _QUOTED
_FULL_STOP = "\uff0e"
_SHOWN = {picture: chr(code) for code, picture in _SIGNS.items()}
_WRITTEN = re.compile(f"{_QUOTE}[{''.join(_SHOWN)}\uff0f{_QUOTE}{_FULL_STOP}]|[{''.join(_SHOWN)}]")


def rclone_path(key: str) -> str:
    """A key, or a folder, as an argument of rclone after ``remote:bucket/``."""
    return "/".join(_segment(segment) for segment in key.split("/"))


def key_of(path: str) -> str:
    """The key that ``rclone_path`` wrote like this."""
    return _WRITTEN.sub(_read, path)


def _read(found: re.Match[str]) -> str:
    sign = found[0]
    return sign[1] if sign[0] == _QUOTE else _SHOWN.get(sign, sign)


def _segment(name: str) -> str:
    if name in (_FULL_STOP, _FULL_STOP * 2):  # these would stand for "." and ".."
        return name.replace(_FULL_STOP, _QUOTE + _FULL_STOP)
    return name.translate(_ENCODING)


def remote_environment(remote: str, config: ProviderConfig, credential: Credential | None) -> dict[str, str]:
    """``RCLONE_CONFIG_<REMOTE>_*`` for one remote. Without a credential the store is asked anonymously.

    How certificates are checked is an option of all remotes in rclone; ``runner.sh`` sets it for this one alone.
    """
    aws = config.type == "s3" and config.endpoint.endswith(".amazonaws.com")
    options = {
        "TYPE": "s3",
        "PROVIDER": "AWS" if aws else _FLAVOURS[config.type],
        "ENDPOINT": config.endpoint,
        "REGION": config.region,
        "FORCE_PATH_STYLE": "false" if aws else "true",
        "NO_CHECK_BUCKET": "true",  # the service's key may not create buckets
        "ENCODING": "Raw",
    }
    if credential:
        options |= {"ACCESS_KEY_ID": credential.access_key, "SECRET_ACCESS_KEY": credential.secret_key}
    environment = {f"RCLONE_CONFIG_{remote.upper()}_{name}": value for name, value in options.items()}
    environment["RCLONE_LOCAL_ENCODING"] = "Raw"
    if config.verify is False:
        environment[f"{UNVERIFIED}{remote}"] = "1"
    elif isinstance(config.verify, str):
        environment[f"{BUNDLE}{remote}"] = config.verify
    return environment
