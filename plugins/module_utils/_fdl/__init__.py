# SPDX-License-Identifier: BSD-2-Clause
"""The Functions Definition Language: THE model of a service. PRIVATE to the collection and to the invoker.

Pure standard library. The steps are separate functions without side effects: text to a ``Source`` (``yamltext``,
``jsontext``; the parser of YAML is the caller's), the type of each scalar (``resolve``), parse (``reader``), validate
(``rules``), normalise, ``to_document``, ``diff_documents``. Only ``textfile`` touches the file system.
"""

from .diff import Change, diff_documents
from .document import from_document, keep_secrets, to_document
from .file import FILE, Fdl, parse_fdl, script_places
from .forms import OWN_STORE, provider_type
from .hiding import hide
from .jsontext import read_json
from .loops import Loop, find_loops, loop_problem
from .matching import Match, match, takes_name
from .model import SERVICE, Service
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
from .resolve import resolve
from .rules import USABLE_TYPES, Rule, unusable_stores, validate, warnings_of
from .schema import json_schema
from .source import Source
from .textfile import (
    FDL_NAMES,
    LARGEST_FDL,
    LARGEST_SCRIPT,
    OutsideError,
    fdl_files,
    is_outside,
    lies_in,
    read_file,
    read_script,
)
from .written import Written
from .yamltext import decode, read_text

__all__ = [
    "FDL_NAMES",
    "FILE",
    "HIDDEN",
    "LARGEST",
    "LARGEST_FDL",
    "LARGEST_SCRIPT",
    "MISSING",
    "OWN_STORE",
    "SERVICE",
    "USABLE_TYPES",
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
    "OutsideError",
    "Replica",
    "Retry",
    "Rule",
    "Service",
    "Source",
    "Synchronous",
    "Toleration",
    "Volume",
    "Written",
    "decode",
    "diff_documents",
    "fdl_files",
    "find_loops",
    "from_document",
    "hide",
    "is_outside",
    "json_schema",
    "keep_secrets",
    "lies_in",
    "loop_problem",
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
    "provider_type",
    "read_file",
    "read_json",
    "read_script",
    "read_service",
    "read_text",
    "resolve",
    "script_places",
    "takes_name",
    "to_document",
    "unusable_stores",
    "validate",
    "warnings_of",
]
