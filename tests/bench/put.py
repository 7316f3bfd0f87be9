# SPDX-License-Identifier: Apache-2.0
"""What ``oscar put --wait --dest`` adds to the time that the jobs take: 200 small files on the single machine."""

from __future__ import annotations

import json
import statistics
import time
from datetime import datetime
from pathlib import Path

from parts.standalone import Person, running_standalone

ROUNDS = 3
FILES = 200
FDL = """\
functions:
  oscar:
    - here:
        name: copy
        image: none
        script: copy.sh
        input: [{storage_provider: minio, path: copy/in}]
        output: [{storage_provider: minio, path: copy/out}]
"""


def main(folder: Path) -> None:
    with running_standalone(folder / "home") as person:
        (person.home / "copy.sh").write_text('#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR"\n')
        (person.home / "copy.yml").write_text(FDL)
        person.oscar("apply", "--yes", person.home / "copy.yml")
        rounds = [one(person, folder / f"round-{number}", number) for number in range(ROUNDS)]
    for whole, jobs in rounds:
        print(f"put of {FILES} files: {whole:6.2f} s, their jobs {jobs:6.2f} s, ratio {whole / jobs:.3f}")
    print(f"median ratio {statistics.median(whole / jobs for whole, jobs in rounds):.3f}")


def one(person: Person, files: Path, number: int) -> tuple[float, float]:
    """Put files and wait; return the command's time and that from the first job's creation to the last one's end."""
    files.mkdir()
    for index in range(FILES):
        (files / f"{number}-{index}.txt").write_text(f"{number} {index}")
    begun = time.monotonic()
    person.oscar("put", files, "copy", "--wait", "--dest", files.with_suffix(".out"))
    whole = time.monotonic() - begun
    jobs = json.loads(person.oscar("jobs", "copy", "--limit", str(FILES), "-o", "json"))
    times = [(datetime.fromisoformat(job["created"]), datetime.fromisoformat(job["finished"])) for job in jobs]
    return whole, (max(end for _, end in times) - min(begin for begin, _ in times)).total_seconds()
