# SPDX-License-Identifier: Apache-2.0
"""Write the prefix and suffix rules of an output as an rclone filter file.

A file belongs to an output if its path below ``TMP_OUTPUT_DIR`` starts with any of the prefixes *and* ends with any
of the suffixes; an empty list matches everything, and both may overlap (``ab`` and ``bc`` match ``abc``). rclone
accepts regular expressions in ``{{ }}``, in which every character can be written as a number, so that none has a
special meaning: https://rclone.org/filtering/#regexp. It compares them with encoded paths (``rclone_path``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oscar_fedcloud.storage.rclone import rclone_path

_FULL_STOP = "\uff0e"  # rclone quotes it only if it is a whole name
_QUOTE = "\\x{201b}"


def filter_lines(prefixes: Sequence[str], suffixes: Sequence[str]) -> str:
    """Return the filter file's content, or "" if every file belongs to the output."""
    if not any(prefixes) and not any(suffixes):
        return ""
    # ".*" also tells rclone that it cannot derive from the rule which folders to look into, so it looks into all
    whole = f"(?:{_either(prefixes)}).*(?:{_either(suffixes)})"
    shared = [_escape(path) for path in sorted(set(_overlaps(prefixes, suffixes)))]
    return f"+ /{{{{(?s){'|'.join([whole, *shared])}}}}}\n- **\n"


def _either(words: Sequence[str]) -> str:
    return "|".join(_escape(word) for word in words)


def _escape(word: str) -> str:
    return "".join(_pattern(sign) for sign in word)


def _pattern(sign: str) -> str:
    written = "".join(f"\\x{{{ord(each):x}}}" for each in rclone_path(sign))
    return f"(?:{_QUOTE})?{written.removeprefix(_QUOTE)}" if sign == _FULL_STOP else written


def _overlaps(prefixes: Sequence[str], suffixes: Sequence[str]) -> Iterator[str]:
    """Yield the paths in which the end of a prefix overlaps the start of a suffix."""
    for prefix in prefixes:
        for suffix in suffixes:
            for length in range(1, min(len(prefix), len(suffix)) + 1):
                if prefix.endswith(suffix[:length]):
                    yield prefix + suffix[length:]
