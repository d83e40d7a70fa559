"""Signatures: keys that sign statements, and keys that are trusted."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from softlaunch.core import identities


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


@runtime_checkable
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


class Bundles(Protocol):
    """Sigstore bundles, verified without a network."""

    def read(self, raw: bytes, *, trusted_root: str) -> identities.Bundle:
        """
        What the bundle holds, when its certificate, signature and log entry verify; who may sign is not asked here.

        Args:
            raw: A bundle of version 0.3 around a DSSE envelope, as JSON.
            trusted_root: Path of a trusted_root.json; empty: the public Sigstore's.

        Raises:
            MalformedError: it does not verify.
            ConfigError: the trusted root cannot be read, or Sigstore's library is not installed.
        """
        ...


class KeylessSigner(Protocol):
    """Somebody whom an OpenID provider vouches for, for a few minutes."""

    @property
    def identity(self) -> identities.Identity:
        """Who signs."""
        ...

    @property
    def trusted_root(self) -> str:
        """What its bundles verify by; see Bundles.read."""
        ...

    def sign(self, statement: bytes) -> bytes:
        """
        A Sigstore bundle of this in-toto statement, as JSON.

        Raises:
            UnavailableError: a service of Sigstore cannot be reached or refuses.
        """
        ...
