"""
Where a secret of an environment is kept. The value itself is no part of any spec, plan, digest or message.

It is read when a replica starts, by the process that starts it, and handed over in the replica's environment alone.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class SecretKind(enum.StrEnum):
    FILE = "file"
    """A file where softlaunch runs; one line end at its end is not part of the secret."""
    ENV = "env"
    """A variable of softlaunch's own environment."""
    VAULT = "vault"
    """PATH#FIELD of a version 2 key-value engine of HashiCorp Vault, such as secret/data/tips#password."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecretReference:
    kind: SecretKind
    target: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.target}"


def missing(references: Mapping[str, SecretReference], variables: Mapping[str, str]) -> tuple[str, ...]:
    """$NAME (for KEY) of every reference to a variable that is not set."""
    return tuple(
        f"${found.target} (for {key})"
        for key, found in sorted(references.items())
        if found.kind is SecretKind.ENV and found.target not in variables
    )
