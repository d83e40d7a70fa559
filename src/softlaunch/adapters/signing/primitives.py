"""
Ed25519 and ECDSA over P-256 with SHA-256, by the library `cryptography`; see ports.signing.

A key has one algorithm. Other curves and RSA are refused when the key is read, so that nothing can be downgraded to
them.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import cryptography.exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from softlaunch import errors
from softlaunch.ports import signing

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_SUPPORTED = "Ed25519 and EC keys of the curve P-256 are supported"


class Signer:
    """See ports.signing.Signer."""

    def __init__(self, key: PrivateKey, public: signing.PublicKey) -> None:
        self._key = key
        self._public = public

    @property
    def public(self) -> signing.PublicKey:
        """See ports.signing.Signer.public."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """See ports.signing.Signer.sign."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


class Verifier:
    """See ports.signing.Verifier."""

    def verifies(self, key: signing.PublicKey, message: bytes, signature: bytes) -> bool:
        """See ports.signing.Verifier.verifies."""
        loaded = serialization.load_pem_public_key(key.pem)
        try:
            if key.algorithm is signing.Algorithm.ED25519 and isinstance(loaded, ed25519.Ed25519PublicKey):
                loaded.verify(signature, message)
            elif key.algorithm is signing.Algorithm.ECDSA_P256 and isinstance(loaded, ec.EllipticCurvePublicKey):
                loaded.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            else:
                return False
        except cryptography.exceptions.InvalidSignature:
            return False
        return True


def generate(*, elliptic: bool) -> PrivateKey:
    """A new key: Ed25519, or EC over P-256."""
    return ec.generate_private_key(ec.SECP256R1()) if elliptic else ed25519.Ed25519PrivateKey.generate()


def private_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """PKCS#8, encrypted when there is a passphrase."""
    how: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def load_private(raw: bytes, name: str, passphrase: bytes | None) -> PrivateKey:
    """
    The private key in a PEM file.

    Raises:
        ConfigError: none that is supported, or the passphrase is missing or wrong.
    """
    try:
        key = serialization.load_pem_private_key(raw, passphrase)
    except (ValueError, TypeError) as error:
        if b"ENCRYPTED" in raw or isinstance(error, TypeError):
            raise errors.ConfigError(
                f"The key {name!r} cannot be unlocked: its passphrase is missing or wrong.",
                remedy="Set the environment variable that holds it; `softlaunch key list` names it.",
                code=errors.Code.KEY_LOCKED,
            ) from error
        raise unreadable(name) from error
    except cryptography.exceptions.UnsupportedAlgorithm as error:
        raise unreadable(name) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise unreadable(name)


def public_of(key: PrivateKey, name: str) -> signing.PublicKey:
    return load_public(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), name
    )


def load_public(raw: bytes, name: str) -> signing.PublicKey:
    """
    The public key in a PEM file.

    Raises:
        ConfigError: none that is supported.
    """
    try:
        key = serialization.load_pem_public_key(raw)
    except (ValueError, TypeError, cryptography.exceptions.UnsupportedAlgorithm) as error:
        raise unreadable(name) from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = signing.Algorithm.ED25519
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = signing.Algorithm.ECDSA_P256
    else:
        raise unreadable(name)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return signing.PublicKey(name=name, key_id=hashlib.sha256(der).hexdigest(), algorithm=algorithm, pem=pem)


def unreadable(name: str) -> errors.ConfigError:
    """What was named is not a key that can be used."""
    return errors.ConfigError(
        f"{name!r} holds no key that can be used.",
        remedy=f"{_SUPPORTED}, as PEM files; make one with `softlaunch key new`.",
        code=errors.Code.KEY_UNREADABLE,
    )
