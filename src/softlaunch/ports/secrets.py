"""Secrets, read from where they are kept."""

from __future__ import annotations

from typing import Protocol

from softlaunch.core import secret_references


class Secrets(Protocol):
    """Errors name the key and the reference, and never a value or what a server answered."""

    def read(self, key: str, reference: secret_references.SecretReference) -> str:
        """
        The secret's value: text without a NUL character.

        Args:
            key: The variable it is for; for messages.
            reference: Where it is kept.

        Raises:
            ConfigError: it is not there, is no text, or may not be read.
            UnavailableError: whoever keeps it does not answer.
        """
        ...
