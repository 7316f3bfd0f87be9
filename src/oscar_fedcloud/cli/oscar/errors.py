# SPDX-License-Identifier: Apache-2.0
"""Errors of commands, and their exit codes. docs/oscar.md lists the codes."""

from __future__ import annotations

EXIT_CODES = {
    0: "done",
    1: "the server refused the request, or something could not be done",
    2: "the command line or the configuration is wrong",
    3: "a job did not succeed",
    4: "there is no such service, job, bucket or object",
    5: "the credentials were refused",
    6: "the server cannot be reached or does not work",
    7: "it did not happen within `--timeout`",
    8: "this server does not offer that",
    130: "interrupted by Ctrl-C",
    141: "the reader of the output left",
}


class CommandError(Exception):
    """The command cannot be executed; the message gives the reason and the remedy."""

    code = 1


class WrongUse(CommandError):
    """The command line or the configuration is wrong."""

    code = 2


class JobFailed(CommandError):
    """The command worked, but a job did not succeed."""

    code = 3


class Missing(CommandError):
    """The service, job, bucket or object does not exist."""

    code = 4


class Denied(CommandError):
    """The credentials were refused, or do not allow it."""

    code = 5


class Unreachable(CommandError):
    """The server gave no usable response."""

    code = 6


class TimedOut(CommandError):
    """Something did not happen in time."""

    code = 7


class NotOffered(CommandError):
    """The server does not have what the command needs."""

    code = 8
