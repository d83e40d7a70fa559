"""Evidence of releases: signed statements attached to their digests, and what becomes of them when asked."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from softlaunch import errors
from softlaunch.core import dsse_types, evidence_policy, identities, intoto, release
from softlaunch.ports import registry, signing

_NOBODY = identities.Trust()
_PREDICATES = {
    intoto.ARTIFACT_TYPE: intoto.PREDICATE_ANNOTATION,
    identities.ARTIFACT_TYPE: identities.PREDICATE_ANNOTATION,
}
"""Annotation that names the predicate type, by artifact type."""


class Registry(registry.Registry, registry.Referrers, Protocol):
    """Where releases and what refers to them are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Approval:
    """Somebody let a rollout go on."""

    release: release.Digest
    service: str
    environment: str
    rollout: int
    by: str
    reason: str
    at: str
    """UTC, ISO 8601."""


class Evidence:
    """
    What is said of the releases of one registry.

    Args:
        releases: Where they are.
        keys: Those that sign, and those that are trusted.
        verifier: Tells whether a signature is a key's.
        bundles: Reads Sigstore bundles; needed where identities are trusted.
    """

    def __init__(
        self,
        *,
        releases: Registry,
        keys: signing.Keys,
        verifier: signing.Verifier,
        bundles: signing.Bundles | None = None,
    ) -> None:
        self._releases = releases
        self._keys = keys
        self._verifier = verifier
        self._bundles = bundles

    def attach(
        self, statements: Sequence[intoto.Statement], signer: signing.Signer | signing.KeylessSigner
    ) -> tuple[release.Digest, ...]:
        """
        Signs and attaches what this signer has not said before; returns the digests of the new referrers.

        Raises:
            ConfigError: there is no such release.
            UnavailableError: a service that signs refuses.
        """
        added = []
        for statement in statements:
            payload = intoto.dump(statement)
            if isinstance(signer, signing.Signer):
                referrer = None if self._said(statement.subject, payload, signer) else _by_key(payload, signer)
            else:
                referrer = None if self._bundled(statement.subject, payload, signer) else _keyless(payload, signer)
            if referrer is not None:
                artifact_type, media_type, raw, annotations = referrer
                annotations[_PREDICATES[artifact_type]] = intoto.PREDICATE_TYPES[statement.kind]
                added.append(
                    self._releases.refer(
                        statement.subject,
                        artifact_type=artifact_type,
                        media_type=media_type,
                        payload=raw,
                        annotations=annotations,
                    )
                )
        return tuple(added)

    def approved(self, approval: Approval) -> None:
        """Attaches an approval, when there is a key; it was given all the same when that fails."""
        predicate: dict[str, Any] = {
            "service": approval.service,
            "environment": approval.environment,
            "rollout": approval.rollout,
            "by": approval.by,
            "reason": approval.reason,
            "at": approval.at,
        }
        statement = intoto.Statement(
            kind=intoto.Kind.APPROVAL, service=approval.service, subject=approval.release, predicate=predicate
        )
        try:
            signer = self._keys.signer()
            if signer is not None:
                self.attach([statement], signer)
        except errors.SoftlaunchError as error:
            import structlog  # noqa: PLC0415 - Rich comes with it; a warning is rare, and most commands have none

            structlog.get_logger(__name__).warning(
                "approval_unsigned", release=approval.release.short, by=approval.by, error=str(error)
            )

    def verify(
        self,
        digest: release.Digest,
        *,
        keys: Sequence[signing.PublicKey],
        threshold: int = 1,
        people: identities.Trust = _NOBODY,
        given: Sequence[bytes] = (),
    ) -> evidence_policy.Judgement:
        """
        Whether everything attached to the release verifies; the release's own blobs are not read.

        Args:
            digest: The release.
            keys: Those that are trusted; none: signatures by keys count for nothing when identities are trusted.
            threshold: So many keys have to have signed an envelope. A Sigstore bundle has one signature.
            people: Identities that are trusted; without one, Sigstore bundles are not looked at.
            given: Sigstore bundles that are judged as if they were attached.

        Raises:
            UnavailableError: a referrer's bytes do not match its digest.
            ConfigError: the trusted root cannot be read, or Sigstore's library is not installed.
        """
        trusted = {key.key_id: key for key in keys}
        attached = self._releases.referrers(digest, intoto.ARTIFACT_TYPE)
        findings = [
            self._finding(each, digest, trusted, threshold, passed_over=bool(people.identities) and not trusted)
            for each in attached
        ]
        if people.identities:
            bundles = (*self._releases.referrers(digest, identities.ARTIFACT_TYPE), *map(_as_referrer, given))
            findings += [self._of_bundle(each, digest, people) for each in bundles]
        by = "key" if not people.identities else "key or identity" if trusted else "identity"
        return evidence_policy.judge(findings, by=by)

    def require(self, digest: release.Digest, wanted: evidence_policy.EvidenceSpec) -> None:
        """
        Raises:
            ConfigError: the release is unsigned, or something of its evidence does not verify.
            UnavailableError: as `verify`.
        """
        if wanted.require is evidence_policy.Requirement.NONE:
            return
        keys = self._keys.trusted(wanted.keys) if wanted.keys_trusted else ()
        found = self.verify(digest, keys=keys, threshold=wanted.threshold, people=wanted.people)
        if not found.passed:
            raise errors.ConfigError(
                f"Release {digest.short} may not run there: {' '.join(found.problems[:3])}",
                remedy=f"See `softlaunch verify {digest.short}`; build it where somebody signs who is trusted here.",
                code=errors.Code.UNSIGNED,
            )

    def _said(self, digest: release.Digest, payload: bytes, signer: signing.Signer) -> bool:
        for each in self._releases.referrers(digest, intoto.ARTIFACT_TYPE):
            try:
                envelope = dsse_types.load(each.payload)
            except dsse_types.MalformedError:
                continue
            if envelope.payload == payload and signer.public.key_id in {found.key_id for found in envelope.signatures}:
                return True
        return False

    def _bundled(self, digest: release.Digest, payload: bytes, signer: signing.KeylessSigner) -> bool:
        """A bundle counts as said only when it verifies: a damaged one must not keep a good one away."""
        for each in self._releases.referrers(digest, identities.ARTIFACT_TYPE):
            try:
                found = self._reader().read(each.payload, trusted_root=signer.trusted_root)
            except dsse_types.MalformedError:
                continue
            if found.payload == payload and signer.identity.matches(found.signer):
                return True
        return False

    def _reader(self) -> signing.Bundles:
        if self._bundles is None:
            raise errors.InvariantError("Identities matter here, and nothing here reads Sigstore bundles.")
        return self._bundles

    def _finding(
        self,
        referrer: registry.Referrer,
        digest: release.Digest,
        trusted: dict[str, signing.PublicKey],
        threshold: int,
        *,
        passed_over: bool,
    ) -> evidence_policy.Finding:
        try:
            envelope, statement = self._read(referrer, digest)
            named = {each.key_id for each in envelope.signatures}
            foreign = passed_over or (statement.kind is intoto.Kind.APPROVAL and not named & set(trusted))
            key_ids = () if foreign else self._signed(envelope, trusted, threshold)
        except dsse_types.MalformedError as error:
            return evidence_policy.Finding(referrer=referrer.digest, key_ids=(), statement=None, problem=str(error))
        return evidence_policy.Finding(
            referrer=referrer.digest,
            key_ids=key_ids,
            statement=statement,
            payload=envelope.payload,
            foreign=foreign,
        )

    def _read(
        self, referrer: registry.Referrer, digest: release.Digest
    ) -> tuple[dsse_types.Envelope, intoto.Statement]:
        """What the referrer says, about this release; whether it is signed is another question."""
        envelope = dsse_types.load(referrer.payload)
        return envelope, self._statement(envelope.payload_type, envelope.payload, referrer, digest)

    def _statement(
        self, payload_type: str, payload: bytes, referrer: registry.Referrer, digest: release.Digest
    ) -> intoto.Statement:
        if payload_type != intoto.PAYLOAD_TYPE:
            raise dsse_types.MalformedError(f"its payload type is {payload_type!r:.80}")
        statement = intoto.load(payload)
        _check_about(statement, referrer, digest)
        if self._releases.resolve(digest.value, service=statement.service) != digest:
            raise dsse_types.MalformedError(f"it is about another service ({statement.service!r:.80})")
        return statement

    def _of_bundle(
        self, referrer: registry.Referrer, digest: release.Digest, people: identities.Trust
    ) -> evidence_policy.Finding:
        signer = None
        try:
            bundle = self._reader().read(referrer.payload, trusted_root=people.trusted_root)
            signer = bundle.signer
            statement = self._statement(bundle.payload_type, bundle.payload, referrer, digest)
            foreign = _foreign(statement, signer, people)
        except dsse_types.MalformedError as error:
            return evidence_policy.Finding(
                referrer=referrer.digest, key_ids=(), statement=None, problem=str(error), signer=signer
            )
        return evidence_policy.Finding(
            referrer=referrer.digest,
            key_ids=(),
            statement=statement,
            payload=bundle.payload,
            foreign=foreign,
            signer=signer,
        )

    def _signed(
        self, envelope: dsse_types.Envelope, trusted: dict[str, signing.PublicKey], threshold: int
    ) -> tuple[str, ...]:
        """The keys that signed: all of the envelope's, each once, each trusted."""
        message = dsse_types.pae(envelope.payload_type, envelope.payload)
        found: list[str] = []
        for each in envelope.signatures:
            key = trusted.get(each.key_id)
            if key is None:
                raise dsse_types.MalformedError(f"its key {each.key_id[:12] or 'without a name'} is not trusted")
            if each.key_id in found:
                raise dsse_types.MalformedError(f"the key {key.name!r} signed it twice")
            if not self._verifier.verifies(key, message, each.raw):
                raise dsse_types.MalformedError(f"the signature is not by the key {key.name!r} that it names")
            found.append(each.key_id)
        if len(found) < threshold:
            raise dsse_types.MalformedError(f"{len(found)} of {threshold} keys signed it")
        return tuple(found)


def _by_key(payload: bytes, signer: signing.Signer) -> tuple[str, str, bytes, dict[str, str]]:
    """Artifact type, media type, content and annotations of what is attached."""
    envelope = dsse_types.Envelope(
        payload_type=intoto.PAYLOAD_TYPE,
        payload=payload,
        signatures=(
            dsse_types.Signature(
                key_id=signer.public.key_id, raw=signer.sign(dsse_types.pae(intoto.PAYLOAD_TYPE, payload))
            ),
        ),
    )
    return intoto.ARTIFACT_TYPE, dsse_types.MEDIA_TYPE, dsse_types.dump(envelope), {}


def _keyless(payload: bytes, signer: signing.KeylessSigner) -> tuple[str, str, bytes, dict[str, str]]:
    """As `_by_key`; as cosign attaches bundles."""
    annotations = {identities.CONTENT_ANNOTATION: identities.CONTENT}
    return identities.ARTIFACT_TYPE, identities.ARTIFACT_TYPE, signer.sign(payload), annotations


def _foreign(statement: intoto.Statement, signer: identities.Signer, people: identities.Trust) -> bool:
    """Whether this is an approval by somebody who is not trusted; everything else has to be by somebody who is."""
    if people.of(signer):
        return False
    if statement.kind is not intoto.Kind.APPROVAL:
        raise dsse_types.MalformedError(f"{signer.subject} of {signer.issuer} is not trusted")
    return True


def _as_referrer(raw: bytes) -> registry.Referrer:
    """A bundle that lies in a file, named by its own bytes."""
    digest = release.Digest(f"sha256:{hashlib.sha256(raw).hexdigest()}")
    return registry.Referrer(digest=digest, artifact_type=identities.ARTIFACT_TYPE, annotations={}, payload=raw)


def _check_about(statement: intoto.Statement, referrer: registry.Referrer, digest: release.Digest) -> None:
    """The statement is about this release, and is of the kind it is listed as."""
    if statement.subject != digest:
        raise dsse_types.MalformedError(f"it is about another release ({statement.subject.short})")
    for name in (intoto.PREDICATE_ANNOTATION, identities.PREDICATE_ANNOTATION):
        listed = referrer.annotations.get(name)
        if listed is not None and listed != intoto.PREDICATE_TYPES[statement.kind]:
            raise dsse_types.MalformedError(f"it is listed as {listed!r:.80} and is none")
    problem = evidence_policy.approval_problem(statement)
    if problem:
        raise dsse_types.MalformedError(problem)
