# SPDX-License-Identifier: Apache-2.0
"""Measures the invoker on the real parts and prints medians. Nothing here asserts a figure.

Usage: python tests/bench [NAME...]

The names are those of BENCHES. All when none is named, but for ``site``, which needs the test site.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import autoscale  # noqa: E402
import autoscaler  # noqa: E402
import calls  # noqa: E402
import cluster  # noqa: E402
import declare  # noqa: E402
import flags  # noqa: E402
import latency  # noqa: E402
import put  # noqa: E402
import site_job  # noqa: E402
import start  # noqa: E402
import webhook  # noqa: E402

BENCHES = {
    "webhook": webhook.main,
    "latency": latency.main,
    "declare": declare.main,
    "start": start.main,
    "put": put.main,
    "kubernetes": cluster.main,
    "calls": calls.main,
    "flags": flags.main,
    "autoscaler": autoscaler.main,
    "autoscale": autoscale.main,
    "site": site_job.main,
}


def main() -> int:
    chosen = sys.argv[1:] or [name for name in BENCHES if name != "site"]
    if unknown := [name for name in chosen if name not in BENCHES]:
        print(f"no such bench: {', '.join(unknown)}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"\n== {name} ==", flush=True)
        with tempfile.TemporaryDirectory(prefix="oscar-bench-") as folder:
            BENCHES[name](Path(folder))
    return 0


sys.exit(main())
