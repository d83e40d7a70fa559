"""Signatures: keys that sign statements, and keys that are trusted."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol


class Algorithm(enum.StrEnum):
    """A key signs by one algorithm; an envelope cannot choose another."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublicKey:
    name: str
    key_id: str
    """SHA-256 of the key's SubjectPublicKeyInfo in DER, in hex."""
    algorithm: Algorithm
    pem: bytes


class Signer(Protocol):
    @property
    def public(self) -> PublicKey:
        """The key that what it signs verifies by."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of the message."""
        ...


class Verifier(Protocol):
    def verifies(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        """Whether the signature is the key's, of this message, by the key's own algorithm."""
        ...


class Keys(Protocol):
    def signer(self) -> Signer | None:
        """
        The key that signs here; None when there is none.

        Raises:
            ConfigError: the key cannot be read, or its passphrase is missing or wrong.
        """
        ...

    def trusted(self, names: Sequence[str] = ()) -> Sequence[PublicKey]:
        """
        The public keys of these names or files; without any, all that are kept.

        Raises:
            ConfigError: there is no such key, or it is none that is supported.
        """
        ...
