"""Declarations of labels: HOME/log/SERVICE/labels.json."""

from __future__ import annotations

import json
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.controller import replacing
from softlaunch.core.labels import rules

_FILE = "labels.json"


def read(home: homes.Home, service: str) -> dict[str, rules.Rule]:
    """
    What is declared, by the label's name.

    Raises:
        ConfigError: somebody wrote something else there.
    """
    path = home.log / service / _FILE
    try:
        found = json.loads(path.read_bytes())
        return {str(name): rules.Rule.from_json(rule) for name, rule in found["labels"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise rules.refuse(
            f"{path} holds no declarations of labels: {error!r}.",
            "Remove it, and declare them again with `softlaunch labels declare`.",
        ) from error


def write(home: homes.Home, service: str, found: Mapping[str, rules.Rule]) -> None:
    """
    Replaces what is declared.

    Raises:
        UnavailableError: it cannot be written; then the old declarations hold.
    """
    path = home.log / service / _FILE
    text = json.dumps({"labels": {name: rule.to_json() for name, rule in found.items()}}, indent=1)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replacing.replace_file(path, [f"{text}\n".encode()])
    except OSError as error:
        raise errors.UnavailableError(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Make room or give the folder back to its owner, and repeat.",
            code=errors.Code.LOG_UNAVAILABLE,
        ) from error
