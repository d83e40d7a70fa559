"""
A second net under secrets: no text of ours that is logged or shown holds a value that was resolved in this process.

The first net is that no value is ever put into a message. This one is for what others write: the last lines of a
program that printed its own environment, an error of a library that repeats what it was given.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import traceback
import urllib.parse
from collections.abc import MutableMapping, Sequence
from typing import Any

MARK = "[secret]"
LENGTH_MIN = 4
"""Shorter values would take words out of every message; a guess, and no secret is that short."""


class Redactor:
    """Knows values, and takes them out of texts. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()

    def learn(self, value: str) -> None:
        """Remembers a value, its lines, and how it looks in JSON, in URLs and in base64."""
        parts = {value, value.strip(), *value.splitlines()}
        forms = {
            form
            for part in parts
            for form in (
                part,
                json.dumps(part)[1:-1],
                repr(part)[1:-1],
                urllib.parse.quote(part, safe=""),
                urllib.parse.quote_plus(part),
                base64.b64encode(part.encode()).decode().rstrip("="),
            )
            if len(part) >= LENGTH_MIN
        }
        with self._lock:
            self._forms = tuple(sorted({*self._forms, *forms}, key=len, reverse=True))

    def text(self, text: str) -> str:
        """The text without any value."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MARK)
        return text

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """As a structlog processor: every text of an event, in whatever it is nested, and its traceback."""
        asked = event.get("exc_info")
        if asked:
            error = (
                asked
                if isinstance(asked, BaseException)
                else (asked if isinstance(asked, tuple) else sys.exc_info())[1]
            )
            shown = "".join(traceback.format_exception(error))
            if self.text(shown) != shown:
                event = {**event, "traceback": shown}
                del event["exc_info"]
        return {self.text(key): self._cleaned(value) for key, value in event.items()}

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self._cleaned(key): self._cleaned(found) for key, found in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._cleaned(found) for found in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        shown = repr(value)
        return value if self.text(shown) == shown else self.text(shown)


def processors(redactor: Redactor, present: Sequence[Any]) -> list[Any]:
    """The processors of structlog with the redactor before the last, which renders."""
    if any(found is redactor for found in present):
        return list(present)
    return [*present[:-1], redactor, present[-1]]
