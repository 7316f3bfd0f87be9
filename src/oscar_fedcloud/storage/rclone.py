# SPDX-License-Identifier: Apache-2.0
"""Configure rclone for a store by environment variables (no file, no key on a command line), and encode keys for it.

rclone uses its own encoding of names, in which e.g. a newline is U+240A, and U+201B quotes such characters. Without an
encoding at both ends (``Raw``), and with keys in that form as arguments, every valid key is passed on unchanged.
https://rclone.org/overview/#encoding
"""

from __future__ import annotations

import re

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.stores import Credential

_FLAVOURS = {"minio": "Minio", "folder": "Rclone", "s3": "Other"}
UNVERIFIED, BUNDLE = (
    "OSCAR_UNVERIFIED_",
    "OSCAR_CA_",
)  # prefixes of a remote's name: do not verify its certificate; verify it by this file
_QUOTE = "\u201b"
_PICTURES = 0x2400  # Unicode block of pictures of the control characters
_SIGNS = {code: chr(_PICTURES + code) for code in range(0x20)} | {0x7F: "\u2421"}
_QUOTED = {ord(sign): _QUOTE + sign for sign in (*_SIGNS.values(), "\uff0f", _QUOTE)}
_ENCODING = _SIGNS | _QUOTED
_FULL_STOP = "\uff0e"
_SHOWN = {picture: chr(code) for code, picture in _SIGNS.items()}
_WRITTEN = re.compile(f"{_QUOTE}[{''.join(_SHOWN)}\uff0f{_QUOTE}{_FULL_STOP}]|[{''.join(_SHOWN)}]")


def rclone_path(key: str) -> str:
    """Encode a key or a folder as an rclone argument after ``remote:bucket/``."""
    return "/".join(_segment(segment) for segment in key.split("/"))


def key_of(path: str) -> str:
    """Decode a key that ``rclone_path`` encoded."""
    return _WRITTEN.sub(_read, path)


def _read(found: re.Match[str]) -> str:
    sign = found[0]
    return sign[1] if sign[0] == _QUOTE else _SHOWN.get(sign, sign)


def _segment(name: str) -> str:
    if name in (_FULL_STOP, _FULL_STOP * 2):  # these would mean "." and ".."
        return name.replace(_FULL_STOP, _QUOTE + _FULL_STOP)
    return name.translate(_ENCODING)


def remote_environment(remote: str, config: ProviderConfig, credential: Credential | None) -> dict[str, str]:
    """Return ``RCLONE_CONFIG_<REMOTE>_*`` for one remote. Without a credential, access is anonymous.

    In rclone, the verification of certificates is an option for all remotes; ``runner.sh`` sets it for this one only.
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
