# SPDX-License-Identifier: BSD-2-Clause
"""The Functions Definition Language: THE model of a service. PRIVATE to the collection and to the invoker.

Pure standard library and plain data: what reads YAML, files and requests is elsewhere. The steps are separate functions
without side effects: parse (``reader``), validate (``rules``), normalise, ``to_document``, ``diff_documents``.
"""

from .diff import Change, diff_documents
from .document import from_document, keep_secrets, to_document
from .file import Fdl, parse_fdl
from .hiding import hide
from .loops import Loop, find_loops
from .matching import Match, match, takes_name
from .model import Service
from .normalise import normalise
from .parse import parse_service, read_service
from .parts import (
    Environment,
    Expose,
    Federation,
    Input,
    Kserve,
    Mount,
    Output,
    Replica,
    Retry,
    Synchronous,
    Volume,
)
from .pods import Kubernetes, Toleration
from .problem import HIDDEN, MISSING, FdlError, FdlProblem, make_problem
from .quantity import LARGEST, parse_amount, parse_cpu, parse_duration, parse_quantity
from .reference import markdown
from .rules import Rule, validate, warnings_of
from .schema import json_schema

__all__ = [
    "HIDDEN",
    "LARGEST",
    "MISSING",
    "Change",
    "Environment",
    "Expose",
    "Fdl",
    "FdlError",
    "FdlProblem",
    "Federation",
    "Input",
    "Kserve",
    "Kubernetes",
    "Loop",
    "Match",
    "Mount",
    "Output",
    "Replica",
    "Retry",
    "Rule",
    "Service",
    "Synchronous",
    "Toleration",
    "Volume",
    "diff_documents",
    "find_loops",
    "from_document",
    "hide",
    "json_schema",
    "keep_secrets",
    "make_problem",
    "markdown",
    "match",
    "normalise",
    "parse_amount",
    "parse_cpu",
    "parse_duration",
    "parse_fdl",
    "parse_quantity",
    "parse_service",
    "read_service",
    "takes_name",
    "to_document",
    "validate",
    "warnings_of",
]
