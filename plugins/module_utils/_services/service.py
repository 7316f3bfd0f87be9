# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: declaring services. The server makes the plan, for check mode and for the real run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._api.client import ApiError, Client, OscarError, Unreachable, as_problems, describe
from .._api.views import views
from .._api.wait import assume_new, poll
from .diff import diff_of, told_by_user

APPLY = "/v2/services:apply"


def declare(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Make the services of the task present or absent; what the module returns. Raises OscarError.

    The option ``payload`` is what the action plugin read: ``request`` (the FDL or the services), ``places`` (file and
    path of each service in what the user wrote), ``positions`` (line and column of every path, by file), ``names``, and
    ``secrets`` that must not be shown.
    """
    payload = json.loads(module.params["payload"] or "{}")
    module.no_log_values.update(payload.get("secrets", ()))
    body = _body(module.params, payload)
    answer = _apply(module, client, body, payload)
    for warning in answer["warnings"]:
        module.warn(_relocated_text(warning, payload))
    plan = answer["plan"]
    if module.params["wait"] and not module.check_mode:
        # Only the invoker counts revisions, and only it knows what ready means.
        declared = [item["name"] for item in plan if item["after"] and item["revision"]]
        wait_ready(client, declared, module.params["wait_timeout"])
    result = {
        "changed": answer["changed"],
        "plan": [_told(item) for item in plan],
        "services": [item["after"] for item in plan if item["action"] in ("create", "update")],
    }
    return {**result, "diff": diff_of(told_by_user(plan, body))} if module._diff else result


def _told(item: Mapping[str, Any]) -> dict[str, Any]:
    """What the module returns of an item; the fields of a service that comes or goes are those of its document."""
    changes = item["changes"] if item["action"] == "update" else []
    return {"name": item["name"], "action": item["action"], "changes": changes, "revision": item["revision"]}


def _body(params: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """The request to ``:apply``. Raises OscarError when the options do not say what is wanted."""
    names = payload.get("names") or params["names"]
    if params["state"] == "present":
        if params["data"]:
            raise OscarError("data can be given with state=absent only; to declare a service never touches its data")
        if "request" not in payload:
            raise OscarError("state is present but fdl and definition are missing; give one of them")
        return {"state": "present", "prune": params["prune"], **payload["request"]}
    if params["prune"]:
        raise OscarError("prune can be given with state=present only; name the services to remove, or leave prune out")
    if not names:
        raise OscarError("state is absent but names, fdl and definition are missing; give one of them")
    return {"state": "absent", "names": names, "data": params["data"] or "keep"}


def _apply(module: AnsibleModule, client: Client, body: Mapping[str, Any], payload: Mapping[str, Any]) -> Any:
    """The answer to ``:apply``, or its stand-in where the server has no such thing.

    The stand-ins are imported where they are needed: a target compiles the model of FDL anew for each task.
    """
    try:
        return client.post(APPLY, body, dry_run="true" if module.check_mode else "false")
    except Unreachable as error:
        assume_new(module, error, "this plan is for a server without services")
        from .plan import first_plan

        return first_plan(body)
    except ApiError as error:
        if error.status == 404 and not error.is_problem:
            from . import legacy

            if legacy.is_oscar(client):
                if body.get("prune"):
                    raise OscarError("prune is set, but an existing OSCAR server has no plan; leave it out") from error
                return legacy.apply(client, body, module.check_mode)
        raise _relocated(error, payload) from error


def _relocated(error: ApiError, payload: Mapping[str, Any]) -> ApiError:
    """The error with the places that the user knows: the server counts the services that it got."""
    errors = [_relocated_error(e, payload) for e in error.details["errors"]]
    if not errors:
        return error
    return ApiError(describe(as_problems(errors)), error.status, True, errors)


def _relocated_error(error: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    file, path = relocate(str(error.get("path", "")), payload.get("places", ()))
    kept = {name: value for name, value in error.items() if name not in ("line", "column")}  # those of the request
    files = payload.get("positions") or {}
    file = file or ("" if "services" in payload.get("request", ()) else next(iter(files), ""))
    if file not in files:
        return {**kept, "path": path}
    from .._fdl.source import nearest_place  # here, since a target compiles it anew for each task

    line, column = nearest_place(path, files[file], (1, 1))
    return {**kept, "path": path, "file": file, "line": line, "column": column}


def _relocated_text(warning: str, payload: Mapping[str, Any]) -> str:
    """A warning of the server's plan with the place that the user knows."""
    place, _space, text = warning.partition(" ")
    file, path = relocate(place, payload.get("places", ()))
    return f"{file}: {path} {text}" if file else f"{path} {text}"


def relocate(place: str, places: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """File and path of a problem as the user knows them; ``places`` are those of the services of the request, in order.

    The file is "" where the place is none of a service.
    """
    found = re.match(r"services\[(\d+)\]", place)
    if not found or int(found.group(1)) >= len(places):
        return "", place
    service = places[int(found.group(1))]
    return service["file"], service["path"] + place[found.end() :]


def wait_ready(client: Client, names: Sequence[str], timeout: float) -> None:
    """Wait until events start jobs of all these services. Raises TimedOut, which says what is not ready and why."""
    waiting: dict[str, str] = {}

    def probe() -> bool | None:
        waiting.clear()
        found = views(client, names)
        for name in names:
            status = found[name]["status"] if name in found else {"state": "absent", "reason": ""}
            if status["state"] != "ready":
                waiting[name] = status["reason"] or status["state"]
        return None if waiting else True

    if not names:
        return
    poll(probe, timeout, lambda: "not ready: " + "; ".join(f"{name} ({why})" for name, why in waiting.items()))
