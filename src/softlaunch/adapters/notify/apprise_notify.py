"""Notifications by apprise; see ports.notify.Notify."""

from __future__ import annotations

import logging

import apprise

from softlaunch import errors
from softlaunch.ports import notify

_SECONDS_MAX = 15.0
"""A guess: longer than apprise's own limits for connecting and reading, 4 s each."""
_TALKATIVE = ("apprise", "requests", "urllib3")
"""Their records quote URLs, and a URL is a secret here. Nobody else in this process uses the last two."""


class AppriseNotify:
    """See ports.notify.Notify. May be used from several threads."""

    def __init__(self, *, seconds_max: float = _SECONDS_MAX) -> None:
        self._asset = apprise.AppriseAsset(service_timeout=seconds_max, allow_templates=False)
        self._asset.app_id = "softlaunch"
        self._asset.app_desc = "softlaunch"
        self._asset.async_mode = False
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def send(self, url: str, title: str, body: str) -> None:
        """See ports.notify.Notify.send."""
        try:
            service = apprise.Apprise.instantiate(url, asset=self._asset)
        except Exception:  # noqa: BLE001  # over a hundred plug-ins; and their texts quote the URL
            service = None
        if service is None:
            raise errors.ConfigError(
                f"The notification URL {notify.shown(url)} names no service.",
                remedy="Write it as apprise's documentation of that service says.",
                code=errors.Code.NOTIFY_URL,
            )
        sender = apprise.Apprise(asset=self._asset)
        sender.add(service)
        why = "it did not take the message"
        try:
            taken = bool(sender.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT))
        except Exception as error:  # noqa: BLE001  # as above
            taken, why = False, f"it failed ({type(error).__name__})"
        if not taken:
            raise errors.UnavailableError(
                f"The notification service at {notify.shown(url)} cannot be used: {why}.",
                remedy="Check its address and credentials, and whether it is up.",
                code=errors.Code.NOTIFY_FAILED,
            )
