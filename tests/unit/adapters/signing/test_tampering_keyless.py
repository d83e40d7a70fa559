"""Evidence in Sigstore bundles: tampered with, each refused; and what keys and identities are worth together."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json

import pytest
import sigstore_lab
from test_tampering import SIGNED, K, World

from softlaunch import errors
from softlaunch.adapters.signing import primitives, sigstore_bundles
from softlaunch.controller import evidence
from softlaunch.core import dsse_types, evidence_policy, identities, intoto

STRANGER = "https://github.com/evil/tips/.github/workflows/ship.yml@refs/heads/main"
OTHER_ISSUER = "https://token.actions.evil.example"
PATTERN = r"^https://github\.com/org/[a-z]+/\.github/workflows/ship\.yml@refs/heads/main$"


class KeylessWorld(World):
    """The same releases; every statement of the first one in a bundle, by a workflow, instead of by a key."""

    def __init__(self, directory) -> None:
        super().__init__(directory)
        self.sigstore = sigstore_lab.Sigstore()
        self.strange = sigstore_lab.Sigstore()
        self.root = str(self.sigstore.trusted_root(directory / "trusted_root.json"))
        self.by_key = dict(self.registry._referrers[self.digest])
        self.proofs = evidence.Evidence(
            releases=self.registry,
            keys=self.keys,
            verifier=primitives.Verifier(),
            bundles=sigstore_bundles.Bundles(),
        )
        for digest in (self.digest, self.other):
            for each in self.registry.referrers(digest, intoto.ARTIFACT_TYPE):
                payload = dsse_types.load(each.payload).payload
                del self.registry._referrers[digest][each.digest]
                self.refer(self.sigstore.bundle(payload), each.annotations[intoto.PREDICATE_ANNOTATION], digest)
        self.whole = dict(self.registry._referrers[self.digest])

    def refer(self, bundle, predicate_type: str, digest=None) -> None:
        self.registry.refer(
            digest or self.digest,
            artifact_type=identities.ARTIFACT_TYPE,
            media_type=identities.ARTIFACT_TYPE,
            payload=bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode(),
            annotations={identities.PREDICATE_ANNOTATION: predicate_type},
        )

    def bundled(self, kind: intoto.Kind, digest=None):
        wanted = intoto.PREDICATE_TYPES[kind]
        found = self.registry.referrers(digest or self.digest, identities.ARTIFACT_TYPE)
        return next(each for each in found if each.annotations[identities.PREDICATE_ANNOTATION] == wanted)

    def payload(self, kind: intoto.Kind) -> bytes:
        return base64.b64decode(json.loads(self.bundled(kind).payload)["dsseEnvelope"]["payload"])

    def instead(self, kind: intoto.Kind, bundle, predicate_type: str | None = None) -> None:
        """Puts another bundle where that statement of the release was; None: nothing."""
        del self.registry._referrers[self.digest][self.bundled(kind).digest]
        if bundle is not None:
            self.refer(bundle, predicate_type or intoto.PREDICATE_TYPES[kind])

    def change(self, kind: intoto.Kind, edit) -> None:
        document = json.loads(self.bundled(kind).payload)
        edit(document)
        self.instead(kind, document)

    def again(self, kind: intoto.Kind, edit=lambda said: None, **how) -> None:
        """The same statement, or a changed one, in a new bundle."""
        said = json.loads(self.payload(kind))
        edit(said)
        payload = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
        self.instead(kind, how.pop("by", self.sigstore).bundle(payload, **how))

    def asked(self, **changes) -> evidence_policy.EvidenceSpec:
        exact = identities.Identity(issuer=sigstore_lab.ISSUER, subject=sigstore_lab.SUBJECT)
        people = identities.Trust(identities=(exact,), trusted_root=self.root)
        return dataclasses.replace(SIGNED, **{"people": people, **changes})

    def people(self, **identity) -> evidence_policy.EvidenceSpec:
        who = identities.Identity(**identity)
        return self.asked(people=identities.Trust(identities=(who,), trusted_root=self.root))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> KeylessWorld:
    return KeylessWorld(tmp_path_factory.mktemp("keyless"))


@pytest.fixture
def world(built) -> KeylessWorld:
    built.registry._referrers[built.digest] = dict(built.whole)
    return built


def put(name: str, value):
    return lambda said: said["predicate"].update({name: value})


def envelope(edit):
    return lambda document: edit(document["dsseEnvelope"])


def days_ago(number: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(days=number)


TAMPERINGS = {
    "payload": lambda w: w.change(
        K.LINEAGE, envelope(lambda e: e.update(payload=sigstore_lab.text(w.payload(K.LINEAGE).replace(b"Ada", b"Eve"))))
    ),
    "payload-type": lambda w: w.instead(K.LINEAGE, w.sigstore.bundle(w.payload(K.LINEAGE), payload_type="text/plain")),
    "signature": lambda w: w.change(
        K.PROVENANCE, envelope(lambda e: e["signatures"][0].update(sig=sigstore_lab.text(bytes(70))))
    ),
    "signature-of-another": lambda w: w.change(
        K.METRICS,
        envelope(lambda e: e.update(signatures=json.loads(w.bundled(K.MODEL).payload)["dsseEnvelope"]["signatures"])),
    ),
    "material-of-another": lambda w: w.change(
        K.METRICS,
        lambda d: d.update(verificationMaterial=json.loads(w.bundled(K.MODEL).payload)["verificationMaterial"]),
    ),
    "subject-stranger": lambda w: w.again(K.PROVENANCE, subject=STRANGER),
    "subject-stranger-of-metrics": lambda w: w.again(K.METRICS, subject=STRANGER),
    "subject-longer": lambda w: w.again(K.PROVENANCE, subject=f"{sigstore_lab.SUBJECT}-2"),
    "subject-upper-case": lambda w: w.again(K.PROVENANCE, subject=sigstore_lab.SUBJECT.replace("org", "ORG")),
    "issuer-other": lambda w: w.again(K.PROVENANCE, issuer=OTHER_ISSUER),
    "issuer-with-slash": lambda w: w.again(K.PROVENANCE, issuer=f"{sigstore_lab.ISSUER}/"),
    "sigstore-other": lambda w: w.again(K.PROVENANCE, by=w.strange),
    "expired-when-logged": lambda w: w.again(K.PROVENANCE, logged_after=datetime.timedelta(hours=1)),
    "changed-and-signed-by-a-stranger": lambda w: w.again(K.LINEAGE, put("author", "Eve"), subject=STRANGER),
    "of-another-release": lambda w: w.instead(K.PROVENANCE, w.bundled(K.PROVENANCE, w.other).payload),
    "listed-as-another": lambda w: w.instead(K.METRICS, w.bundled(K.METRICS).payload, intoto.PREDICATE_TYPES[K.LOAD]),
    "approval-without-rollout": lambda w: w.again(K.APPROVAL, lambda said: said["predicate"].pop("rollout")),
    "approval-broken": lambda w: w.change(K.APPROVAL, envelope(lambda e: e.update(payload="e30="))),
    "truncated": lambda w: w.instead(K.PROVENANCE, w.bundled(K.PROVENANCE).payload[:-200]),
    "empty": lambda w: w.instead(K.PROVENANCE, b""),
    "added-by-a-stranger": lambda w: w.refer(
        w.sigstore.bundle(w.payload(K.METRICS), subject=STRANGER), intoto.PREDICATE_TYPES[K.METRICS]
    ),
    "removed-provenance": lambda w: w.instead(K.PROVENANCE, None),
    "removed-metrics": lambda w: w.instead(K.METRICS, None),
    "removed-all": lambda w: w.registry._referrers[w.digest].clear(),
    "envelope-in-place-of-bundle": lambda w: w.instead(K.PROVENANCE, by_key(w, K.PROVENANCE).payload),
    "downgraded-to-a-key": lambda w: downgrade(w, *K),
    "downgraded-to-a-key-in-part": lambda w: downgrade(w, K.METRICS),
}


def by_key(world: KeylessWorld, kind: intoto.Kind):
    wanted = intoto.PREDICATE_TYPES[kind]
    return next(each for each in world.by_key.values() if each.annotations.get(intoto.PREDICATE_ANNOTATION) == wanted)


def downgrade(world: KeylessWorld, *kinds: intoto.Kind) -> None:
    """The same statements, signed by the trusted key of the home, in place of the bundles."""
    there = {each.annotations.get(identities.PREDICATE_ANNOTATION) for each in world.whole.values()}
    for kind in kinds:
        if intoto.PREDICATE_TYPES[kind] in there:
            world.instead(kind, None)
            kept = by_key(world, kind)
            world.registry._referrers[world.digest][kept.digest] = kept


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_evidence_in_bundles_is_refused(world, name) -> None:
    world.proofs.require(world.digest, world.asked())

    TAMPERINGS[name](world)

    assert world.whole != world.registry._referrers[world.digest]
    with pytest.raises(errors.ConfigError) as caught:
        world.proofs.require(world.digest, world.asked())
    assert errors.Code.UNSIGNED is caught.value.code
    world.proofs.require(world.other, world.asked())


def test_evidence_in_bundles_counts_as_evidence_by_keys_does(world) -> None:
    found = world.proofs.verify(world.digest, keys=(), people=world.asked().people)

    assert {K.LINEAGE, K.MODEL, K.METRICS, K.TESTS, K.LOCK, K.DATA, K.APPROVAL, K.PROVENANCE} == {
        each.statement.kind for each in found.findings
    }
    assert {sigstore_lab.SUBJECT} == {each.signer.subject for each in found.findings}
    assert 1 == len(evidence_policy.approvals(found, environment="production", rollout=7))


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({"issuer": sigstore_lab.ISSUER, "subject_regexp": PATTERN}, True),
        ({"issuer": sigstore_lab.ISSUER, "subject_regexp": PATTERN.replace("org", "or")}, False),
        ({"issuer": sigstore_lab.ISSUER, "subject_regexp": "^https://github$"}, False),
        ({"issuer": sigstore_lab.ISSUER, "subject": PATTERN}, False),
        ({"issuer": "https://gitlab.com", "subject": sigstore_lab.SUBJECT}, False),
        ({"issuer": sigstore_lab.ISSUER, "subject": STRANGER}, False),
    ],
)
def test_a_pattern_has_to_match_the_whole_subject_and_the_issuer_exactly(world, wanted, matches) -> None:
    if matches:
        world.proofs.require(world.digest, world.people(**wanted))
        return
    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.digest, world.people(**wanted))


def test_the_refusal_names_the_identity_that_signed_and_its_issuer(world) -> None:
    world.again(K.PROVENANCE, subject=STRANGER, issuer=OTHER_ISSUER)

    found = world.proofs.verify(world.digest, keys=(), people=world.asked().people)

    assert any(f"{STRANGER} of {OTHER_ISSUER} is not trusted" in problem for problem in found.problems)
    assert "No provenance is signed by a trusted identity." in found.problems


def test_an_approval_of_somebody_else_counts_for_nothing_and_refuses_nothing(world) -> None:
    world.again(K.APPROVAL, subject=STRANGER)

    found = world.proofs.verify(world.digest, keys=(), people=world.asked().people)

    assert found.passed
    assert () == evidence_policy.approvals(found, environment="production", rollout=7)


def test_bundles_are_nothing_where_keys_are_asked_for(world) -> None:
    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.digest, SIGNED)
    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.digest, dataclasses.replace(SIGNED, keys=("release",)))


def test_keys_and_identities_both_count_where_both_are_named(world) -> None:
    downgrade(world, K.METRICS, K.LOCK)
    both = world.asked(keys=("release",))

    world.proofs.require(world.digest, both)

    world.again(K.PROVENANCE, subject=STRANGER)
    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.digest, both)


def test_a_key_beside_the_bundles_is_passed_over_where_identities_alone_are_asked_for(world) -> None:
    kept = by_key(world, K.METRICS)
    world.registry._referrers[world.digest][kept.digest] = kept

    found = world.proofs.verify(world.digest, keys=(), people=world.asked().people)

    assert found.passed
    assert [kept.digest] == [each.referrer for each in found.findings if each.foreign]


def test_a_bundle_in_a_file_is_judged_as_if_it_were_attached(world) -> None:
    kept = world.bundled(K.PROVENANCE).payload
    world.instead(K.PROVENANCE, None)
    people = world.asked().people

    assert not world.proofs.verify(world.digest, keys=(), people=people).passed
    assert world.proofs.verify(world.digest, keys=(), people=people, given=[kept]).passed
    assert not world.proofs.verify(world.digest, keys=(), people=people, given=[kept, kept[:-9]]).passed


def test_a_certificate_that_expired_weeks_ago_still_proves_what_it_signed(world) -> None:
    world.again(K.PROVENANCE, at=days_ago(20))

    world.proofs.require(world.digest, world.asked())


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (".*@example.com", "^ and end with $"),
        ("^ann@example.com", "^ and end with $"),
        ("ann@example.com$", "^ and end with $"),
        (r"^ann@example.com\$", "^ and end with $"),
        ("^(ann@example.com$", "no pattern"),
        ("^.*$", "matches nothing at all"),
        ("^" + "a" * 500 + "$", "longer than"),
        (r"^[a-z]+@example\.com$", ""),
    ],
)
def test_a_pattern_that_could_match_more_than_is_meant_is_refused(pattern, problem) -> None:
    found = identities.pattern_problem(pattern)

    assert problem in found if problem else not found


def test_a_pattern_of_alternatives_has_to_match_the_whole_subject_too() -> None:
    either = identities.Identity(issuer=sigstore_lab.ISSUER, subject_regexp="^https://a.example/b|https://a.example/c$")

    def by(subject: str) -> identities.Signer:
        return identities.Signer(subject=subject, issuer=sigstore_lab.ISSUER, log_index=0, integrated_time="")

    assert either.matches(by("https://a.example/b"))
    assert either.matches(by("https://a.example/c"))
    assert not either.matches(by("https://a.example/bad"))
    assert not either.matches(by("https://evil.example/https://a.example/c"))
    assert not either.matches(by("https://a.example/c\n"))
