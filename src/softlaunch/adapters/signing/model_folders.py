"""Folders of models, signed and checked as OpenSSF's model-signing does; see core.model_bundle."""

from __future__ import annotations

import hashlib
import os
import pathlib

from softlaunch import errors
from softlaunch.adapters.signing import primitives
from softlaunch.core import dsse_types, intoto, model_bundle
from softlaunch.ports import signing

_IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What model-signing leaves out of a folder by itself."""


def sign(directory: pathlib.Path, signer: signing.Signer, signature: pathlib.Path) -> int:
    """
    Writes the signature of every file of the folder; returns how many there are.

    Raises:
        ConfigError: the key is not an EC key, the folder has no file or a symbolic link.
        UnavailableError: the signature cannot be written.
    """
    if signer.public.algorithm is not signing.Algorithm.ECDSA_P256:
        raise errors.ConfigError(
            f"The key {signer.public.name!r} is an Ed25519 key, which model-signing does not read.",
            remedy="Make one with `softlaunch key new --name models --ec`.",
            code=errors.Code.MODEL_SIGNATURE,
        )
    found = _digests(directory, signature)
    if not found:
        raise _refused(directory, "it holds no file")
    payload = model_bundle.statement(directory.resolve().name, found, ignored=(*_IGNORED, signature.name))
    raw = signer.sign(dsse_types.pae(intoto.PAYLOAD_TYPE, payload))
    hint = hashlib.sha256(signer.public.pem).hexdigest()
    try:
        signature.write_bytes(model_bundle.bundle(payload, raw, hint=hint))
    except OSError as error:
        raise errors.UnavailableError(
            f"{signature} cannot be written: {error.strerror}.",
            remedy="Name another file with --out.",
            code=errors.Code.MODEL_SIGNATURE,
        ) from error
    return len(found)


def verify(directory: pathlib.Path, signature: pathlib.Path, key: signing.PublicKey) -> int:
    """
    How many files there are, each as it was signed, none beside them.

    Raises:
        ConfigError: something differs, or the signature is not the key's.
    """
    try:
        envelope, hint = model_bundle.envelope(signature.read_bytes())
        if hint and hint != hashlib.sha256(key.pem).hexdigest():
            raise _refused(directory, f"it was signed by another key than {key.name!r}")
        message = dsse_types.pae(envelope.payload_type, envelope.payload)
        if not primitives.Verifier().verifies(key, message, envelope.signatures[0].raw):
            raise _refused(directory, f"the signature is not the key's {key.name!r}")
        signed = model_bundle.digests(envelope.payload)
    except dsse_types.MalformedError as error:
        raise _refused(directory, str(error)) from error
    except OSError as error:
        raise _refused(directory, f"the signature cannot be read ({error.strerror})") from error
    found = _digests(directory, signature)
    for path in sorted({*signed, *found}):
        if signed.get(path) != found.get(path):
            state = "is missing" if path not in found else "was added" if path not in signed else "was changed"
            raise _refused(directory, f"{path} {state}")
    return len(found)


def _digests(directory: pathlib.Path, signature: pathlib.Path) -> dict[str, str]:
    found = {}
    for place, folders, names in os.walk(directory):
        top = pathlib.Path(place) == directory
        if top:
            folders[:] = [name for name in folders if name not in _IGNORED]
        for name in (*names, *folders):
            path = pathlib.Path(place, name)
            if path.is_symlink():
                raise _refused(directory, f"{path.relative_to(directory)} is a symbolic link")
        for name in names:
            path = pathlib.Path(place, name)
            if (top and name in _IGNORED) or path.resolve() == signature.resolve():
                continue
            with path.open("rb") as file:
                found[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _refused(directory: pathlib.Path, why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The model in {directory} does not verify: {why}.",
        remedy="Fetch model and signature again, and ask who signed it for the public key.",
        code=errors.Code.MODEL_SIGNATURE,
    )
