"""
Signatures of model folders as OpenSSF's model-signing writes them (predicate https://model_signing/signature/v1.0).

A Sigstore bundle around a DSSE envelope around an in-toto statement that lists the SHA-256 of every file; the subject's
digest is that of those digests in the order of the names. Only plain files and only SHA-256: what else the format
allows (shards, BLAKE) is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import dsse_types, intoto

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


def statement(name: str, digests: Mapping[str, str], *, ignored: Sequence[str]) -> bytes:
    """The payload that is signed: digests in hex by path, slashes between."""
    document = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(digests)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(ignored),
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": digests[path]} for path in sorted(digests)],
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def bundle(payload: bytes, signature: bytes, *, hint: str) -> bytes:
    """The Sigstore bundle around a signed payload; `hint` is the SHA-256 of the public key's PEM."""
    envelope = dsse_types.Envelope(
        payload_type=intoto.PAYLOAD_TYPE,
        payload=payload,
        signatures=(dsse_types.Signature(key_id="", raw=signature),),
    )
    found = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": dsse_types.document(envelope),
    }
    return json.dumps(found, indent=2).encode() + b"\n"


def envelope(raw: bytes) -> tuple[dsse_types.Envelope, str]:
    """
    The envelope in a bundle, and the hint at its key.

    Raises:
        MalformedError: not such a bundle.
    """
    found = dsse_types.strict_json(raw, "the bundle")
    if found.get("mediaType") != BUNDLE_TYPE:
        raise dsse_types.MalformedError(f"it is a {found.get('mediaType')!r:.80}, not a {BUNDLE_TYPE}")
    material, inner = found.get("verificationMaterial"), found.get("dsseEnvelope")
    public = material.get("publicKey") if isinstance(material, dict) else None
    if not isinstance(public, dict) or not isinstance(inner, dict):
        raise dsse_types.MalformedError("it is not signed by a plain key")
    signatures = inner.get("signatures")
    if isinstance(signatures, list):  # the empty keyid is left out by some writers
        signatures = [{"keyid": "", **each} if isinstance(each, dict) else each for each in signatures]
    read = dsse_types.parse({**inner, "signatures": signatures})
    if read.payload_type != intoto.PAYLOAD_TYPE or len(read.signatures) != 1:
        raise dsse_types.MalformedError("its envelope is not one signature of an in-toto statement")
    return read, str(public.get("hint") or "")


def digests(payload: bytes) -> dict[str, str]:
    """
    SHA-256 in hex by path, of every file that was signed.

    Raises:
        MalformedError: another statement, another way of hashing, or its sum is wrong.
    """
    found = dsse_types.strict_json(payload, "the statement")
    if found.get("_type") != _STATEMENT_TYPE or found.get("predicateType") != PREDICATE_TYPE:
        raise dsse_types.MalformedError(f"it says {found.get('predicateType')!r:.80}, not {PREDICATE_TYPE}")
    predicate, subjects = found.get("predicate"), found.get("subject")
    try:
        listed = _listed(predicate)
        if not isinstance(subjects, list) or len(subjects) != 1:
            raise dsse_types.MalformedError("its statement has not exactly one subject")
        signed = subjects[0]["digest"]["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise dsse_types.MalformedError("its statement lists no files") from error
    if signed != _root(listed):
        raise dsse_types.MalformedError("its files do not sum up to its subject")
    return listed


def _listed(predicate: Any) -> dict[str, str]:
    how = predicate["serialization"]
    if how["method"] != "files" or how["hash_type"] != "sha256":
        raise dsse_types.MalformedError(f"files are hashed by {how['method']!r}, {how['hash_type']!r:.40}")
    found: dict[str, str] = {}
    for each in predicate["resources"]:
        if each["algorithm"] != "sha256" or each["name"] in found:
            raise dsse_types.MalformedError("a file is listed twice, or not by its SHA-256")
        found[each["name"]] = each["digest"]
    return found


def _root(found: Mapping[str, str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(found[path]) for path in sorted(found))).hexdigest()
