"""Notifications in memory; see ports.notify.Notify."""

from __future__ import annotations

from softlaunch import errors
from softlaunch.ports import notify


class MemoryNotify:
    """See ports.notify.Notify. Every `memory://` URL is a service."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        """URL, title and body, in order."""
        self.broken: set[str] = set()
        """URLs of services that take nothing now."""

    def send(self, url: str, title: str, body: str) -> None:
        """See ports.notify.Notify.send."""
        if not url.startswith("memory://"):
            raise errors.ConfigError(
                f"The notification URL {notify.shown(url)} names no service.",
                remedy="Use memory://NAME.",
                code=errors.Code.NOTIFY_URL,
            )
        if url in self.broken:
            raise errors.UnavailableError(
                f"The notification service at {notify.shown(url)} cannot be used: it is broken.",
                remedy="Mend it.",
                code=errors.Code.NOTIFY_FAILED,
            )
        self.sent.append((url, title, body))
