# SPDX-License-Identifier: BSD-2-Clause
"""The forms of names that the field table uses, and how a storage path is taken apart."""

from __future__ import annotations

import ipaddress
import re

from .containers import ListOf
from .kinds import Text, text
from .table import Finding

DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
PROVIDER_TYPES = ("minio", "s3", "onedata", "webdav", "rucio")
BUCKET_TYPES = ("minio", "s3")
OWN_STORE = "minio.default"

SERVICE_NAME = text(
    "a service name",
    DNS_LABEL,
    "use 1 to 39 lower-case letters, digits and hyphens, with a letter or digit at both ends",
    longest=39,
)
OBJECT_NAME = text(
    "a Kubernetes name",
    DNS_LABEL,
    "use lower-case letters, digits and hyphens, with a letter or digit at both ends",
    longest=63,
)
NODE_NAME = text("a node name", rf"{DNS_LABEL}(?:\.{DNS_LABEL})*", "use a DNS name in lower case", longest=253)
IMAGE = text(
    "an image reference",
    r"(?:[a-z]+://)?[A-Za-z0-9][A-Za-z0-9._:/@+-]*",
    "use a form such as registry.example.org/group/image:tag",
)
TOKEN = text("a service token", r"[0-9a-f]{64}|hidden", "leave it out; the server makes it")
ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
ENV_RULE = "use letters, digits and underscores, not starting with a digit"
_QUALIFIED = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_NAME = _QUALIFIED
LABEL_RULE = "use a Kubernetes name of at most 63 characters, such as team or example.org/team"
LABEL_VALUE = text(
    "a label value",
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
    "use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
)
HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
HEADER_RULE = "use an HTTP header name"
IDENTIFIER = r"[A-Za-z0-9_-]+"
IDENTIFIER_RULE = "use letters, digits, '-' and '_'"
STORAGE_PROVIDER = text(
    "a storage provider",
    rf"(?:{'|'.join(PROVIDER_TYPES)})(?:\.{IDENTIFIER})?",
    "use <type>.<id> with a type of " + ", ".join(PROVIDER_TYPES) + ", such as minio.default",
    optional=False,
)
ABSOLUTE_PATH = text(
    "an absolute path",
    r"/(?!oscar/(?:bin|config)(?:/|$))(?:(?!\.\.?(?:/|$))[^/\0]+/?)*",
    "use an absolute path without '..', outside /oscar/bin and /oscar/config",
    optional=False,
)
RCLONE_FLAGS = text(
    "a list of rclone flags", r"[A-Za-z0-9_.:=,/ -]*", "use only letters, digits, spaces and - _ . : = , /"
)

# '*', '?' and '${' are patterns in a policy; the last two cannot be written in XML, the form of rules.
_UNFIT = re.compile("[*?]|\\$\\{|[\ufffe\uffff]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BUCKET_RULE = "use 3 to 63 lower-case letters, digits, '.' and '-', with a letter or digit at both ends"


class StoragePath(Text):
    """A place in a store: bucket and folder, or only a folder."""

    label = "a storage path"

    def check(self, value: str) -> Finding:
        found = super().check(value)
        if found:
            return found
        rule = "use a form such as bucket/folder"
        path = clean_path(value)
        if not path:
            return "names no place", rule
        if len(path.encode()) > 1024:
            return "is longer than 1024 bytes", "use a shorter path"
        if any(character < " " or character == "\x7f" for character in path):
            return "has control characters", rule
        if any(part in ("", ".", "..") for part in path.split("/")):
            return "has an empty, '.' or '..' part", rule
        if any(len(part.encode()) > 255 for part in path.split("/")):
            return "has a part of more than 255 bytes", "use shorter names of folders"
        found_mark = _UNFIT.search(path)
        if found_mark:
            text = f"has {found_mark.group()!r}, which cannot stand in a store's policies and rules"
            return text, "use a name without '*', '?' and '${'; to choose files by name, give prefix or suffix"
        return None

    def schema(self) -> dict[str, object]:
        return {
            "type": "string",
            "pattern": r"^[ /]*(?!\.\.?([ /]|$))[^/ ][\s\S]*$",
            "not": {"pattern": r"/\.\.?/|[^/ ]//+[^/ ]|[*?]|\$\{"},
        }


class NamePart(Text):
    """A prefix or suffix that is compared as it is."""

    def __init__(self) -> None:
        super().__init__(optional=False)

    def check(self, value: str) -> Finding:
        if not value:
            return "is empty", "give some text, or leave the list out to take every name"
        if value.startswith("*") or value.endswith("*"):
            return "is compared as it is, without wildcards", f"write {value.strip('*')!r}"
        return super().check(value)

    def schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": r"^[^*]([\s\S]*[^*])?$"}


NAME_PARTS = ListOf(NamePart())


def clean_path(path: str) -> str:
    """A storage path without the slashes and spaces around it, as OSCAR takes it."""
    return path.strip(" /")


def provider_id(provider: str) -> str:
    """``minio`` is short for ``minio.default``."""
    return provider if "." in provider else provider + ".default"


def provider_type(provider: str) -> str:
    """The part of a storage provider before the id."""
    return provider.partition(".")[0]


def full_path(service: str, provider: str, path: str) -> str:
    """The path with its bucket: in a store with buckets a single name is a folder in the bucket of the service."""
    path = clean_path(path)
    if "/" in path or provider_type(provider) not in BUCKET_TYPES:
        return path
    return f"{service}/{path}"


def check_bucket(bucket: str) -> Finding:
    """What is wrong with the name of a bucket by the rules of S3."""
    if _BUCKET.fullmatch(bucket) is None or ".." in bucket:
        return f"has the bucket {bucket!r}, which S3 does not allow", _BUCKET_RULE
    if bucket.startswith("xn--") or bucket.endswith(("-s3alias", "--ol-s3")):
        return f"has the bucket {bucket!r}, a form that S3 reserves", _BUCKET_RULE
    try:
        ipaddress.IPv4Address(bucket)
    except ValueError:
        return None
    return f"has the bucket {bucket!r}, which looks like an IP address", "use a name"
