# SPDX-License-Identifier: Apache-2.0
"""Protection against requests by web pages of other origins with the browser's stored credentials (CSRF).

A browser sends a CORS preflight unless the request is a simple one: GET, or POST with a content type of forms or of
plain text, or none. It sends stored HTTP Basic credentials with a simple request, but never with one that needed a
preflight, since this server does not allow that. So only simple requests are dangerous. Clients other than browsers
send neither ``Origin`` nor ``Sec-Fetch-Site``.
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
    """Raise ApiError 403 for a change requested by a page of another origin without a preflight."""
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
    """Return whether a media type is one of YAML. A browser sends a preflight before one (see above)."""
    return media.endswith(("/yaml", "/x-yaml", "+yaml"))


def check_document(headers: Mapping[str, str], yaml: bool) -> None:
    """Raise ApiError 415 if the content type is neither JSON nor, where accepted, YAML.

    OSCAR's clients send none, and curl sends that of forms by default. Both are accepted, since ``check_origin`` has
    refused such requests from pages of other origins.
    """
    media = media_type(headers)
    if media and not is_json(media) and media != _OF_CURL and not (yaml and is_yaml(media)):
        wanted = "application/json or application/yaml" if yaml else "application/json"
        raise ApiError(415, f"the content type is {media}, it must be {wanted}")
