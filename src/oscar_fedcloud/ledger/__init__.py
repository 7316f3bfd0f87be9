# SPDX-License-Identifier: Apache-2.0
"""The durable store of the invoker: one row per event, and one per service and revision. See ``Ledger``."""

from oscar_fedcloud.ledger.database.identity import LedgerIdentity
from oscar_fedcloud.ledger.database.troubles import LedgerTrouble
from oscar_fedcloud.ledger.errors import BadValue, LedgerError, LedgerLost, LedgerUnavailable, StateError
from oscar_fedcloud.ledger.history import cursor_of
from oscar_fedcloud.ledger.ledger import Ledger
from oscar_fedcloud.ledger.records import Callback, Candidate, Chain, DeadLetter, Link, RunTransition, Trace
from oscar_fedcloud.ledger.requests import Claim
from oscar_fedcloud.ledger.states import ENDED, allowed
from oscar_fedcloud.ledger.traces import trace_cursor

__all__ = [
    "ENDED",
    "BadValue",
    "Callback",
    "Candidate",
    "Chain",
    "Claim",
    "DeadLetter",
    "Ledger",
    "LedgerError",
    "LedgerIdentity",
    "LedgerLost",
    "LedgerTrouble",
    "LedgerUnavailable",
    "Link",
    "RunTransition",
    "StateError",
    "Trace",
    "allowed",
    "cursor_of",
    "trace_cursor",
]
