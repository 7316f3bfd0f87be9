# SPDX-License-Identifier: Apache-2.0
"""Contexts: the servers of a user, and the credentials for them.

They are stored in ``oscar/config.yml`` of the user's configuration directory. The clusters of an existing
``~/.oscar-cli/config.yaml`` are contexts too; that file is never written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oscar_fedcloud.cli.oscar.errors import Missing, WrongUse

OWN = "oscar"
FOREIGN = "oscar-cli"
ENVIRONMENT = "environment"
SECRET = frozenset({"password", "token", "oidc_refresh_token"})


@dataclass(frozen=True, slots=True)
class Context:
    """One server and one identity on it.

    ``password_file`` and ``token_file`` are read at each use, so that a rotated secret takes effect. ``source`` says
    where the context is defined.
    """

    name: str
    endpoint: str
    username: str = "oscar"
    password: str = field(default="", repr=False)
    password_file: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    oidc_refresh_token: str = field(default="", repr=False)
    oidc_account: str = ""
    verify: bool = True
    ca_file: str = ""
    source: str = OWN

    def stored(self) -> dict[str, Any]:
        """Return the context as stored: without its name and default values."""
        usual = Context(self.name, self.endpoint, source=self.source)
        mine = {key: value for key, value in asdict(self).items() if value != getattr(usual, key)}
        return {"endpoint": self.endpoint, **mine}

    def shown(self) -> dict[str, Any]:
        """Return the context as plain data with its secrets hidden."""
        hidden = {key: "hidden" if key in SECRET and value else value for key, value in asdict(self).items()}
        return {key: value for key, value in hidden.items() if value != ""}


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts by name, and the name of the current one ("" if there is none)."""

    known: Mapping[str, Context]
    current: str


_FIELDS = {each.name: each.type for each in fields(Context) if each.name not in ("name", "source")}


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the configuration. Raises WrongUse if it cannot be determined."""
    if chosen := environ.get("OSCAR_CONFIG"):
        return Path(chosen)
    if base := environ.get("XDG_CONFIG_HOME"):
        return Path(base) / "oscar" / "config.yml"
    return home(environ) / ".config" / "oscar" / "config.yml"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's home directory. Raises WrongUse if it is unknown."""
    try:
        return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    except RuntimeError:
        raise WrongUse("the home directory is unknown: set HOME, OSCAR_CONFIG or OSCAR_ENDPOINT") from None


def load(environ: Mapping[str, str] = os.environ) -> Contexts:
    """Return all contexts; those of this program override those of oscar-cli with the same name. Raises WrongUse."""
    own, current = _read(config_file(environ), _own)
    foreign, default = _read(_foreign_file(environ), _foreign)
    return Contexts({**foreign, **own}, current or default)


def _foreign_file(environ: Mapping[str, str]) -> Path:
    try:
        return home(environ) / ".oscar-cli" / "config.yaml"
    except WrongUse:
        return Path(os.devnull)


def choose(name: str | None, environ: Mapping[str, str] = os.environ) -> Context:
    """Return the context to use: the named one, that of the environment, else the current one.

    Raises WrongUse, Missing.
    """
    name = name or (None if environ.get("OSCAR_ENDPOINT") else environ.get("OSCAR_CONTEXT"))
    if name is None and environ.get("OSCAR_ENDPOINT"):
        return _of_environment(environ)
    contexts = load(environ)
    if not (name or contexts.current):
        raise WrongUse("no server is chosen: add one with `oscar context add NAME ENDPOINT`, or set OSCAR_ENDPOINT")
    return named(contexts, name or contexts.current)


def named(contexts: Contexts, name: str) -> Context:
    """Return the context of that name. Raises Missing."""
    if name not in contexts.known:
        known = ", ".join(sorted(contexts.known)) or "none"
        raise Missing(f"there is no context {name!r}; known: {known}")
    return contexts.known[name]


def _of_environment(environ: Mapping[str, str]) -> Context:
    context = Context(
        name=ENVIRONMENT,
        endpoint=environ["OSCAR_ENDPOINT"],
        username=environ.get("OSCAR_USERNAME", "oscar"),
        password=environ.get("OSCAR_PASSWORD", ""),
        token=environ.get("OSCAR_TOKEN", ""),
        ca_file=environ.get("OSCAR_CA_FILE", ""),
        source=ENVIRONMENT,
    )
    return checked(context, "OSCAR_ENDPOINT")


def checked(context: Context, place: str) -> Context:
    """Return the context with its endpoint normalised. Raises WrongUse."""
    try:
        parts = urlsplit(context.endpoint)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good:
        hint = "give a URL such as https://oscar.example.org"
        raise WrongUse(f"{place}: {context.endpoint!r} is not an address of a server; {hint}")
    if parts.username is not None or parts.query or parts.fragment:
        raise WrongUse(f"{place}: the address of a server holds neither a user, a password, '?' nor '#'")
    return replace(context, endpoint=context.endpoint.rstrip("/"))


def _read(
    path: Path, interpret: Callable[[Any, Path], tuple[dict[str, Context], str]]
) -> tuple[dict[str, Context], str]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError as error:
        raise WrongUse(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise WrongUse(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return ({}, "") if document is None else interpret(document, path)


def _own(document: Any, path: Path) -> tuple[dict[str, Context], str]:
    members = _mapping(document, path, "the file")
    current = members.get("current") or ""
    if not isinstance(current, str):
        raise WrongUse(f"{path}: current: {current!r} is not the name of a context")
    found = {}
    for name, values in _mapping(members.get("contexts") or {}, path, "contexts").items():
        found[str(name)] = _context(str(name), _mapping(values, path, f"contexts.{name}"), path)
    return found, current


def _context(name: str, values: Mapping[str, Any], path: Path) -> Context:
    place = f"{path}: contexts.{name}"
    for key, value in values.items():
        if key not in _FIELDS:
            raise WrongUse(f"{place}.{key}: there is no such setting; known are: {', '.join(_FIELDS)}")
        wanted = bool if key == "verify" else str
        if not isinstance(value, wanted):
            raise WrongUse(
                f"{place}.{key}: {'true or false' if wanted is bool else 'a text'} is expected; quote numbers"
            )
    if "endpoint" not in values:
        raise WrongUse(f"{place}.endpoint is missing")
    return checked(Context(name=name, **values), f"{place}.endpoint")


def _foreign(document: Any, path: Path) -> tuple[dict[str, Context], str]:
    """Parse a file of oscar-cli. Fields that do not concern contexts are ignored."""
    members = _mapping(document, path, "the file")
    found = {}
    for name, values in _mapping(members.get("oscar") or {}, path, "oscar").items():
        settings = _mapping(values, path, f"oscar.{name}")
        context = Context(
            name=str(name),
            endpoint=_text(settings, "endpoint"),
            username=_text(settings, "auth_user") or "oscar",
            password=_text(settings, "auth_password"),
            oidc_account=_text(settings, "oidc_account_name"),
            oidc_refresh_token=_text(settings, "oidc_refresh_token"),
            verify=settings.get("ssl_verify") is not False,
            source=FOREIGN,
        )
        found[str(name)] = checked(context, f"{path}: oscar.{name}.endpoint")
    return found, _text(members, "default")


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value)


def _mapping(value: Any, path: Path, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WrongUse(f"{path}: {place}: a mapping is expected")
    return value


def add(context: Context, use: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Store a context, replacing one of the same name, and make it current if requested or if it is the only one.

    Return whether the file changed. Raises WrongUse.
    """

    def change(document: dict[str, Any]) -> None:
        document["contexts"] = {**_without(document, context.name), context.name: context.stored()}
        if use or not document.get("current"):
            document["current"] = context.name

    return _edit(config_file(environ), change)


def use(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Make a context the current one; return whether that changed it. Raises Missing, WrongUse."""
    named(load(environ), name)
    return _edit(config_file(environ), lambda document: document.update(current=name))


def remove(name: str, environ: Mapping[str, str] = os.environ) -> None:
    """Remove a context of this program. Raises Missing, WrongUse."""
    if named(load(environ), name).source == FOREIGN:
        raise WrongUse(
            f"context {name!r} is one of ~/.oscar-cli/config.yaml: remove it with `oscar-cli cluster delete`"
        )

    def change(document: dict[str, Any]) -> None:
        document["contexts"] = _without(document, name)
        if document.get("current") == name:
            document.pop("current")

    _edit(config_file(environ), change)


def _without(document: Mapping[str, Any], name: str) -> dict[Any, Any]:
    """Return all contexts of a file but one. Names may be numbers in the file."""
    return {each: values for each, values in (document.get("contexts") or {}).items() if str(each) != name}


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> bool:
    """Update the file and return whether it changed. Concurrent changes are not lost. Raises WrongUse."""
    import yaml

    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.parent):
            _read(path, _own)
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            document = yaml.safe_load(before) or {}
            change(document)
            if document == (yaml.safe_load(before) or {}):
                return False
            _write_private(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
            return True
    except OSError as error:
        raise WrongUse(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, atomically."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
