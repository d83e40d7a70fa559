"""What is asked of an app's requests and answers, and how an answer is read."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from softlaunch.core import answer_checks
from softlaunch.serving import asgi_target

_STRANGE = re.compile(r"[^A-Za-z0-9_.-]")
_CLASS_CHARS_MAX = 64

UNREADABLE = object()
"""Stands for an answer that is no JSON: no check finds anything in it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What the release and its environment say of an app's requests."""

    version: str
    """DIGEST12."""
    instance: str
    paths: tuple[str, ...]
    """Prediction paths; a final * stands for any rest."""
    checks: tuple[answer_checks.AnswerCheck, ...]
    body_bytes_max: int
    """Of a request and of an answer that are kept; larger ones pass through."""
    tells_service_time: bool = False

    def is_prediction(self, scope: asgi_target.Scope) -> bool:
        if scope["method"] != "POST" or not self.paths:
            return False
        raw = scope.get("raw_path")
        path = raw.partition(b"?")[0].decode("latin-1") if raw else scope["path"]
        return any(path.startswith(known[:-1]) if known.endswith("*") else path == known for known in self.paths)


def decoded(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Any:
    """The JSON document; UNREADABLE, in which no check finds anything, when it is none."""
    encoded = any(name.lower() == b"content-encoding" and value != b"identity" for name, value in headers)
    try:
        # Not msgspec: NaN and Infinity, which Python apps do write, are to be named as what they are.
        return UNREADABLE if encoded else json.loads(body)
    except (ValueError, RecursionError):
        return UNREADABLE


def outline(value: Any) -> str:
    """As core.attempts.Attempt.output."""
    if isinstance(value, bool | str):
        text = str(value).lower() if isinstance(value, bool) else value
        return f"c:{_STRANGE.sub('_', text[:_CLASS_CHARS_MAX])}"
    return f"n:{value:.4g}" if isinstance(value, int | float) else ""


def is_stream(start: asgi_target.Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", ())
    )
