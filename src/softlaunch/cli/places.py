"""Which service and environment a command means, when the user did not say."""

from __future__ import annotations

import pathlib
from typing import Any

from softlaunch import errors
from softlaunch.cli import client


def pick(control: client.Client, *, service: str | None, environment: str | None, running: bool) -> tuple[str, str]:
    """
    The one (service, environment) meant.

    Args:
        control: The control plane.
        service: As given, or None.
        environment: As given, or None.
        running: Only those in which a rollout runs come into question, if any does.

    Raises:
        ConfigError: none, or more than one, comes into question.
    """
    found: list[dict[str, Any]] = control.get("/v1/status")["services"]
    known = [(entry["service"], entry["environment"]) for entry in found]
    fitting = [
        entry
        for entry in found
        if (service is None or entry["service"] == service)
        and (environment is None or entry["environment"] == environment)
    ]
    if running and any(entry["rollout"] for entry in fitting):
        fitting = [entry for entry in fitting if entry["rollout"]]
    if len(fitting) > 1 and service is None:
        here = _service_here()
        fitting = [entry for entry in fitting if entry["service"] == here] or fitting
    if len(fitting) == 1:
        return fitting[0]["service"], fitting[0]["environment"]
    names = ", ".join(f"{name} in {place}" for name, place in known) or "nothing yet"
    wanted = " ".join(part for part in (service, environment) if part) or "this command"
    raise errors.ConfigError(
        f"{len(fitting)} places fit {wanted!r}; there is {names}.",
        remedy="Say which with --service and --env.",
        code=errors.Code.WHICH_PLACE,
    )


def _service_here() -> str | None:
    """The `service:` of ./softlaunch.yaml, read without checking the rest."""
    from softlaunch.config import service_file  # noqa: PLC0415 - reading YAML is a fifth of a second of imports

    try:
        lines = pathlib.Path(service_file.FILE_NAME).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("service:")), None)
