"""
DSSE, the envelope of signed statements (github.com/secure-systems-lab/dsse, protocol 1.0.2).

What is signed is the pre-authentication encoding of payload type and payload, never JSON. An envelope is read strictly:
one that another reader could understand in another way (a field twice, an unknown one, Base64 in a second spelling) is
refused, so that what was verified is what is read.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from typing import Any

MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
_BYTES_MAX = 16 << 20
"""Of an envelope; a guess: reports of tests are the largest payload."""


class MalformedError(ValueError):
    """Not an envelope or a statement as its specification says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    key_id: str
    raw: bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Envelope:
    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def dump(envelope: Envelope) -> bytes:
    """The envelope as JSON, the same bytes for the same envelope."""
    return json.dumps(document(envelope), sort_keys=True, separators=(",", ":")).encode()


def document(envelope: Envelope) -> dict[str, Any]:
    return {
        "payloadType": envelope.payload_type,
        "payload": base64.b64encode(envelope.payload).decode(),
        "signatures": [
            {"keyid": each.key_id, "sig": base64.b64encode(each.raw).decode()} for each in envelope.signatures
        ],
    }


def load(raw: bytes) -> Envelope:
    """
    The envelope in these bytes.

    Raises:
        MalformedError: not an envelope, or one that could be read in two ways.
    """
    if len(raw) > _BYTES_MAX:
        raise MalformedError(f"the envelope has {len(raw)} bytes, more than {_BYTES_MAX}")
    return parse(strict_json(raw, "the envelope"))


def parse(found: dict[str, Any]) -> Envelope:
    """
    The envelope in a JSON document.

    Raises:
        MalformedError: as `load`.
    """
    _fields(found, {"payloadType", "payload", "signatures"}, "the envelope")
    signatures = found["signatures"]
    if not isinstance(signatures, list) or not signatures:
        raise MalformedError("the envelope has no signature")
    read = []
    for each in signatures:
        if not isinstance(each, dict):
            raise MalformedError("a signature is no object")
        _fields(each, {"keyid", "sig"}, "a signature")
        if not isinstance(each["keyid"], str):
            raise MalformedError("keyid is no text")
        read.append(Signature(key_id=each["keyid"], raw=base64_bytes(each["sig"], "sig")))
    return Envelope(
        payload_type=_text(found["payloadType"], "payloadType"),
        payload=base64_bytes(found["payload"], "payload"),
        signatures=tuple(read),
    )


def strict_json(raw: bytes, what: str) -> dict[str, Any]:
    """
    The JSON object in these bytes.

    Raises:
        MalformedError: not one object in UTF-8, or a field stands in it twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise MalformedError(f"{what} has a field twice")
        return found

    try:
        found = json.loads(raw.decode(), object_pairs_hook=once)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MalformedError(f"{what} is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise MalformedError(f"{what} is no JSON object")
    return found


def _fields(found: dict[str, Any], wanted: set[str], what: str) -> None:
    if set(found) != wanted:
        odd = sorted(set(found) ^ wanted)
        raise MalformedError(f"{what} has not exactly the fields {', '.join(sorted(wanted))}: {', '.join(odd)[:120]}")


def _text(found: Any, what: str) -> str:
    if not isinstance(found, str) or not found:
        raise MalformedError(f"{what} is no text")
    return found


def base64_bytes(found: Any, what: str) -> bytes:
    """
    The bytes of a text in Base64.

    Raises:
        MalformedError: it is none, or not in the one spelling that encoding them gives.
    """
    text = _text(found, what)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{what} is no Base64") from error
    if base64.b64encode(raw).decode() != text:
        raise MalformedError(f"{what} is not written as Base64 is")
    return raw
