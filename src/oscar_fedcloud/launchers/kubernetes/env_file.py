# SPDX-License-Identifier: Apache-2.0
"""Write variables to files that ``runner.sh`` reads, in lines ``NAME=value``.

``\\`` and characters that cannot be in a line of text are escaped as ``printf %b`` expects. Neither a shell nor
Kubernetes ever interprets a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from oscar_fedcloud.launchers.port import LaunchError

_SPECIAL = re.compile("[\\\\\n\ud800-\udfff]")


def variables_file(variables: Mapping[str, str]) -> str:
    """Return the file's content. Raises LaunchError for variables that an environment cannot contain."""
    return "".join([f"{name}={_escaped(name, value)}\n" for name, value in variables.items()])


def _escaped(name: str, value: str) -> str:
    if not name or "=" in name or "\0" in name or "\n" in name or "\0" in value:
        raise LaunchError(
            f"variable {name!r} cannot be set: a name must not be empty or hold '=' or a newline, and neither name nor "
            "value may hold NUL"
        )
    return _SPECIAL.sub(_escape, value)


def _escape(found: re.Match[str]) -> str:
    sign = found[0]
    if sign == "\n":
        return "\\n"
    if sign == "\\":
        return "\\\\"
    return "".join(f"\\0{byte:03o}" for byte in sign.encode("utf-8", "surrogateescape"))
