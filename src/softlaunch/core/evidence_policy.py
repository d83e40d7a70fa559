"""
When evidence is good enough.

Every statement attached to a release has to verify, by keys that are trusted and by as many as are asked for; a single
one that does not is a sign that somebody was there. Two exceptions count for nothing: an approval by somebody who is
not trusted here is somebody else's approval, and a policy that names identities alone passes over what keys signed (as
one that names none passes over Sigstore bundles). A provenance has to be there, and everything it says was made with
it.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Sequence

from softlaunch.core import identities, intoto, provenance, release


class Requirement(enum.StrEnum):
    NONE = "none"
    SIGNED = "signed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvidenceSpec:
    """What an environment asks of a release before it runs there."""

    require: Requirement = Requirement.NONE
    keys: tuple[str, ...] = ()
    """Names of trusted keys of the home, or files of public keys; none, and no identity: every key of the home."""
    threshold: int = 1
    """So many different keys have to have signed each statement."""
    people: identities.Trust = dataclasses.field(default_factory=identities.Trust)
    """Identities whose Sigstore bundles are trusted. Keys are trusted beside them only when they are named."""

    @property
    def keys_trusted(self) -> bool:
        """Whether a signature by a key counts at all."""
        return bool(self.keys) or not self.people.identities


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One referrer with a statement, and what came of verifying it."""

    referrer: release.Digest
    key_ids: tuple[str, ...]
    """Of trusted keys whose signatures verify."""
    statement: intoto.Statement | None
    """None: it could not be read, or did not verify."""
    payload: bytes = b""
    problem: str = ""
    foreign: bool = False
    """Well-formed and about this release, and it counts for nothing: an approval by somebody who is not trusted here,
    or signed by a key where identities alone are trusted."""
    signer: identities.Signer | None = None
    """Of a Sigstore bundle that verifies, whether that identity is trusted or not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    findings: tuple[Finding, ...]
    problems: tuple[str, ...]
    """Why it is refused; empty: it is not."""

    @property
    def passed(self) -> bool:
        return not self.problems


def judge(findings: Sequence[Finding], *, by: str = "key") -> Judgement:
    """Whether this is all the evidence that has to be there, and all of it good; `by` names what is trusted."""
    good = [found for found in findings if not found.problem and not found.foreign and found.statement is not None]
    problems = [f"Statement {found.referrer.short}: {found.problem}." for found in findings if found.problem]
    proofs = [found.statement for found in good if found.statement and found.statement.kind is intoto.Kind.PROVENANCE]
    if not proofs:
        problems.append(f"No provenance is signed by a trusted {by}.")
    present = {hashlib.sha256(found.payload).hexdigest() for found in good}
    for proof in proofs:
        absent = [digest for digest in provenance.byproducts(proof.predicate) if digest not in present]
        if absent:
            problems.append(f"{len(absent)} statements that the provenance names are missing.")
    return Judgement(findings=tuple(findings), problems=tuple(dict.fromkeys(problems)))


def approvals(judgement: Judgement, *, environment: str, rollout: int) -> tuple[intoto.Statement, ...]:
    """Approvals of this very rollout in this very environment; one given for another stands for nothing here."""
    return tuple(
        found.statement
        for found in judgement.findings
        if found.statement is not None
        and not found.problem
        and not found.foreign
        and found.statement.kind is intoto.Kind.APPROVAL
        and found.statement.predicate.get("environment") == environment
        and found.statement.predicate.get("rollout") == rollout
    )


def approval_problem(statement: intoto.Statement) -> str:
    """What an approval lacks; empty: nothing."""
    if statement.kind is not intoto.Kind.APPROVAL:
        return ""
    said = statement.predicate
    texts = all(isinstance(said.get(name), str) and said[name] for name in ("service", "environment", "by"))
    numbered = isinstance(said.get("rollout"), int) and not isinstance(said["rollout"], bool)
    if not texts or not numbered:
        return "the approval does not say who approved which rollout in which environment"
    return "" if said["service"] == statement.service else "the approval names another service than its subject"
