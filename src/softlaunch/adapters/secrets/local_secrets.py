"""Secrets of files and variables of this machine; see ports.secrets.Secrets."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.core import secret_references
from softlaunch.ports import secrets

BYTES_MAX = 128 * 1024
"""Linux takes no longer text in an environment."""


class LocalSecrets:
    """
    See ports.secrets.Secrets; what another kind of reference names is asked of the one for that kind.

    Args:
        variables: The environment.
        others: By kind.
    """

    def __init__(
        self, variables: Mapping[str, str], others: Mapping[secret_references.SecretKind, secrets.Secrets]
    ) -> None:
        self._variables = variables
        self._others = others

    def read(self, key: str, reference: secret_references.SecretReference) -> str:
        """See ports.secrets.Secrets.read."""
        if reference.kind is secret_references.SecretKind.FILE:
            return self._file(key, reference)
        if reference.kind is secret_references.SecretKind.ENV:
            found = self._variables.get(reference.target)
            if found is None:
                raise unreadable(key, reference, "it is not set", "Set it where softlaunch is started.")
            return found
        return self._others[reference.kind].read(key, reference)

    def _file(self, key: str, reference: secret_references.SecretReference) -> str:
        path = pathlib.Path(reference.target).expanduser()
        try:
            with path.open("rb") as file:
                raw = file.read(BYTES_MAX + 1)
        except OSError as error:
            raise unreadable(
                key, reference, error.strerror or type(error).__name__, "Check its name and who may read it."
            ) from error
        if len(raw) > BYTES_MAX:
            raise unreadable(
                key, reference, f"it has more than {BYTES_MAX} bytes", "Hand the file's path over instead."
            )
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            # No cause: a decoding error carries the bytes.
            raise unreadable(key, reference, "it is no text", "Hand the file's path over instead.")
        return text.removesuffix("\n").removesuffix("\r")


def unreadable(key: str, reference: secret_references.SecretReference, why: str, remedy: str) -> errors.ConfigError:
    """The secret is not there, or may not be read."""
    return errors.ConfigError(
        f"The secret {key} ({reference}) cannot be read: {why}.",
        remedy=remedy,
        code=errors.Code.SECRET_UNREADABLE,
    )
