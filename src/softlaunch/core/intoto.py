"""
in-toto Statements v1 about releases: who (subject), what kind (predicate type), and what is said (predicate).

The subject is the release's digest, so a statement about one release says nothing about another. Predicates of our own
are softlaunch.dev/evidence/KIND/v1; provenance and test results have the predicate types everybody knows.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
from collections.abc import Mapping
from typing import Any

from softlaunch.core import dsse_types, release

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ARTIFACT_TYPE = "application/vnd.in-toto+json"
"""Of the referrer that carries a signed statement."""
PREDICATE_ANNOTATION = "in-toto.io/predicate-type"
_TYPE = "https://in-toto.io/Statement/v1"
_OWN = "https://softlaunch.dev/evidence"
_HEX = re.compile(r"[0-9a-f]{64}")


class Kind(enum.StrEnum):
    PROVENANCE = "provenance"
    LINEAGE = "lineage"
    LOCK = "lock"
    DATA = "data"
    MODEL = "model"
    METRICS = "metrics"
    TESTS = "tests"
    TRAINING = "training"
    LOAD = "load"
    APPROVAL = "approval"


PREDICATE_TYPES: Mapping[Kind, str] = types.MappingProxyType(
    {
        **{kind: f"{_OWN}/{kind.value}/v1" for kind in Kind},
        Kind.PROVENANCE: "https://slsa.dev/provenance/v1",
        Kind.TESTS: "https://in-toto.io/attestation/test-result/v0.1",
    }
)
_KINDS = {name: kind for kind, name in PREDICATE_TYPES.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statement:
    kind: Kind
    service: str
    subject: release.Digest
    predicate: Mapping[str, Any]


def dump(statement: Statement) -> bytes:
    """Canonical JSON: the same bytes for the same statement."""
    document = {
        "_type": _TYPE,
        "subject": [{"name": statement.service, "digest": {"sha256": statement.subject.value.removeprefix("sha256:")}}],
        "predicateType": PREDICATE_TYPES[statement.kind],
        "predicate": statement.predicate,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def load(raw: bytes) -> Statement:
    """
    The statement in these bytes.

    Raises:
        MalformedError: not a statement about one release, or of a kind that is unknown here.
    """
    found = dsse_types.strict_json(raw, "the statement")
    if set(found) != {"_type", "subject", "predicateType", "predicate"}:
        raise dsse_types.MalformedError("the statement has not the four fields of in-toto's Statement")
    if found["_type"] != _TYPE:
        raise dsse_types.MalformedError(f"the statement is a {found['_type']!r:.80}, not a {_TYPE}")
    kind = _KINDS.get(found["predicateType"]) if isinstance(found["predicateType"], str) else None
    if kind is None:
        raise dsse_types.MalformedError(f"the predicate type {found['predicateType']!r:.120} is unknown")
    if not isinstance(found["predicate"], dict):
        raise dsse_types.MalformedError("the predicate is no object")
    service, digest = _subject(found["subject"])
    return Statement(kind=kind, service=service, subject=digest, predicate=found["predicate"])


def _subject(found: Any) -> tuple[str, release.Digest]:
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise dsse_types.MalformedError("the statement has not exactly one subject")
    (subject,) = found
    digests = subject.get("digest")
    if set(subject) != {"name", "digest"} or not isinstance(digests, dict) or set(digests) != {"sha256"}:
        raise dsse_types.MalformedError("the subject is not a name and a sha256")
    name, digest = subject["name"], digests["sha256"]
    if not isinstance(name, str) or not isinstance(digest, str) or not _HEX.fullmatch(digest):
        raise dsse_types.MalformedError("the subject is not a name and 64 hex digits")
    return name, release.Digest(f"sha256:{digest}")
