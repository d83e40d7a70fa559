"""The secret that webhooks are signed with."""

from __future__ import annotations

import hashlib
import hmac
import pathlib
import secrets

from softlaunch import errors
from softlaunch.controller import private_file

_SECRET_BYTES = 32


class HookSecret:
    """
    One secret in one file that only its owner can read; webhooks are off until it is made.

    Args:
        path: HOME/webhook.secret; need not exist.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def make(self, *, rotate: bool) -> str:
        """
        A new secret. It is told here and never again.

        Args:
            rotate: Take the place of the one there is, which is worth nothing from then on.

        Raises:
            ConflictError: there is one and `rotate` is False.
            UnavailableError: it cannot be written down.
        """
        with private_file.changing(self._path):
            if self._path.exists() and not rotate:
                raise errors.ConflictError(
                    "There is a webhook secret already, and what is in use would stop working with another one.",
                    remedy="Use it; if it was lost or leaked, make another with `softlaunch webhook secret --rotate`.",
                    code=errors.Code.HOOK_KEY_EXISTS,
                )
            found = secrets.token_hex(_SECRET_BYTES)
            private_file.write(self._path, found.encode() + b"\n")
        return found

    def read(self) -> bytes | None:
        """
        The key of the signatures: the secret's text as bytes. None: webhooks are off.

        Raises:
            ConfigError: the file is not ours or not private.
        """
        raw = private_file.read(self._path)
        return raw.strip() or None if raw is not None else None


def for_git(key: bytes) -> str:
    """
    The secret that git servers are given.

    It follows from the other one and not the other way round: a git server may send it in clear.
    """
    return hmac.new(key, b"softlaunch git webhook", hashlib.sha256).hexdigest()


def off() -> None:
    """A control plane that takes no webhooks."""
    return
