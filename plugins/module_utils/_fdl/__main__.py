# SPDX-License-Identifier: BSD-2-Clause
"""Prints what is made from the field table: the reference page or the JSON schema."""

from __future__ import annotations

import argparse
import json
import sys

from .reference import markdown
from .schema import json_schema


def main() -> None:
    """Write the chosen output to standard output."""
    parser = argparse.ArgumentParser(prog="python -m oscar_fedcloud.fdl", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--markdown", action="store_true", help="the reference page, docs/fdl.md")
    choice.add_argument("--schema", action="store_true", help="the JSON schema, docs/fdl.schema.json")
    chosen = parser.parse_args()
    sys.stdout.write(markdown() if chosen.markdown else json.dumps(json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
