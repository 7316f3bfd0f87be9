# SPDX-License-Identifier: Apache-2.0
"""Requests that a web page of another origin makes with the credentials that the browser remembers (CSRF).

A browser asks first (a CORS preflight) unless the request is a simple one: GET, or POST with a content type of forms or
of plain text, or none. It sends its remembered HTTP Basic credentials with such a request, and never with one for which
it asked, since this server does not allow that. So only simple requests are dangerous. Clients other than browsers send
neither ``Origin`` nor ``Sec-Fetch-Site``.
"""

from __future__ import annotations

from collections.abc import Mapping

from oscar_fedcloud.server.problems import ApiError

_OWN = frozenset({"", "same-origin", "none"})  # none: typed by the user
_OF_CURL = "application/x-www-form-urlencoded"
_OF_FORMS = frozenset({"text/plain", _OF_CURL, "multipart/form-data"})


def media_type(headers: Mapping[str, str]) -> str:
    """Return the content type without its parameters, in lower case, or ""."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Return whether a media type is one of JSON."""
    return media.endswith(("/json", "+json"))


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Raise ApiError 403 for a request that changes something and that a page of another origin made without asking."""
    if method == "GET" or headers.get("authorization", "")[:7].lower() == "bearer ":
        return
    foreign = headers.get("sec-fetch-site", "") not in _OWN
    origin = headers.get("origin", "")
    if not foreign and (not origin or origin.partition("://")[2] == headers.get("host", "")):
        return
    media = media_type(headers)
    simple = method == "POST" and (not media or media in _OF_FORMS)
    asked = bool(origin) and headers.get("sec-fetch-mode", "cors") == "cors" and not simple
    if not asked:
        raise ApiError(403, "a web page of another origin may not send this request; send JSON with its content type")


def is_yaml(media: str) -> bool:
    """Return whether a media type is one of YAML. A browser asks before it sends one (see above)."""
    return media.endswith(("/yaml", "/x-yaml", "+yaml"))


def check_document(headers: Mapping[str, str], yaml: bool) -> None:
    """Raise ApiError 415 for a content type that says that the body is no JSON, nor YAML where that is taken too.

    OSCAR's clients send none, and curl sends that of forms unless it is told otherwise. Both are taken, since
    ``check_origin`` has refused what a page of another origin sends in this way.
    """
    media = media_type(headers)
    if media and not is_json(media) and media != _OF_CURL and not (yaml and is_yaml(media)):
        wanted = "application/json or application/yaml" if yaml else "application/json"
        raise ApiError(415, f"the content type is {media}, it must be {wanted}")
