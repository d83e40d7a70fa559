"""Notifications: messages to people, wherever they read."""

from __future__ import annotations

import re
from typing import Protocol

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}(?=:)")


class Notify(Protocol):
    def send(self, url: str, title: str, body: str) -> None:
        """
        Hands a message to the service the URL names; blocks until the service has taken it, or for some seconds.

        Args:
            url: As apprise reads it. A secret: it appears in no log and in no error.
            title: One line.
            body: Plain text, some lines.

        Raises:
            ConfigError: no service can be reached by such a URL.
            UnavailableError: the service did not take it.
        """
        ...


def shown(url: str) -> str:
    """All of a URL that may be seen: its scheme."""
    found = _SCHEME.match(url)
    return f"{found.group().lower()}://..." if found else "..."
