"""Forty ways to tamper with the evidence of a release, each refused. And the evidence as it was, accepted."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as paddings

from softlaunch import errors
from softlaunch.adapters.signing import keys, primitives
from softlaunch.controller import evidence
from softlaunch.core import dsse_types, evidence_policy, intoto, provenance, release, release_json
from softlaunch.testing import registry as memory

CONTENT = release.ReleaseContent(
    service="tips",
    runtime=release.Runtime.ONNX,
    model_file="model/model.onnx",
    python_target=None,
    signature=release.Signature(inputs=(), outputs=()),
    lock_file=None,
    profile_file=None,
    smoke_file=None,
    gates=(release.GateResult(name="roc_auc", passed=True, value=0.7, threshold=">= 0.68"),),
)
LINEAGE = release.Lineage(
    commit="a" * 40,
    branch="main",
    tags=(),
    author="Ada <ada@example.com>",
    committed_at="2013-04-01T00:00:00Z",
    built_at="2013-04-01T00:01:00Z",
    tests="12 tests passed",
)
SIGNED = evidence_policy.EvidenceSpec(require=evidence_policy.Requirement.SIGNED)


class World:
    """A registry with two signed releases of one service and one of another, and who is trusted."""

    def __init__(self, directory, *, elliptic: bool = False) -> None:
        self.registry = memory.MemoryRegistry()
        self.keys = keys.KeyDirectory(directory / "keys", {})
        self.keys.new("release", elliptic=elliptic)
        self.stranger = keys.KeyDirectory(directory / "stranger", {})
        self.stranger.new("stranger", elliptic=elliptic)
        self.signer = self.keys.signer()
        self.proofs = evidence.Evidence(releases=self.registry, keys=self.keys, verifier=primitives.Verifier())
        self.digest = self._release(directory / "one", "tips", b"one")
        self.other = self._release(directory / "two", "tips", b"two")
        self.foreign = self._release(directory / "three", "fares", b"three")
        for digest, rollout, environment in ((self.digest, 7, "production"), (self.other, 8, "integration")):
            self.proofs.approved(
                evidence.Approval(
                    release=digest,
                    service="tips",
                    environment=environment,
                    rollout=rollout,
                    by="ann",
                    reason="",
                    at="2013-04-01T00:02:00Z",
                )
            )

    def _release(self, directory, service: str, model: bytes) -> release.Digest:
        content = dataclasses.replace(CONTENT, service=service)
        (directory / "model").mkdir(parents=True)
        (directory / "release.json").write_bytes(release_json.dump_content(content))
        (directory / "model" / "model.onnx").write_bytes(model)
        digest = self.registry.push(directory)
        build = provenance.Build(
            content=content,
            digest=digest,
            lineage=LINEAGE,
            locks=(provenance.Material(name="requirements.lock", sha256="1" * 64),),
            inputs=(provenance.Material(name="reference", sha256="2" * 64),),
            blobs=(digest,),
            versions={"softlaunch": "1"},
        )
        self.proofs.attach(provenance.statements(build), self.signer)
        return digest

    def attached(self, digest: release.Digest, kind: intoto.Kind):
        wanted = intoto.PREDICATE_TYPES[kind]
        found = self.registry.referrers(digest, intoto.ARTIFACT_TYPE)
        return next(each for each in found if each.annotations[intoto.PREDICATE_ANNOTATION] == wanted)

    def replace(self, kind: intoto.Kind, payload: bytes | None, predicate_type: str | None = None) -> None:
        """Puts another envelope where that statement of the release was; None: nothing."""
        old = self.attached(self.digest, kind)
        del self.registry._referrers[self.digest][old.digest]
        if payload is not None:
            self.add(payload, predicate_type or intoto.PREDICATE_TYPES[kind])

    def add(self, payload: bytes, predicate_type: str) -> None:
        self.registry.refer(
            self.digest,
            artifact_type=intoto.ARTIFACT_TYPE,
            media_type=dsse_types.MEDIA_TYPE,
            payload=payload,
            annotations={intoto.PREDICATE_ANNOTATION: predicate_type},
        )

    def edit(self, kind: intoto.Kind, change, *, signer=None) -> None:
        """Changes the statement; signs it again when there is a signer, else keeps the signature it had."""
        envelope = dsse_types.load(self.attached(self.digest, kind).payload)
        document = json.loads(envelope.payload)
        change(document)
        payload = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        signatures = envelope.signatures if signer is None else (signed(signer, payload),)
        self.replace(kind, dsse_types.dump(dataclasses.replace(envelope, payload=payload, signatures=signatures)))

    def envelope(self, kind: intoto.Kind, change) -> None:
        """Changes the envelope as JSON."""
        document = json.loads(self.attached(self.digest, kind).payload)
        change(document)
        self.replace(kind, json.dumps(document).encode())


def signed(signer, payload: bytes, kind: str = intoto.PAYLOAD_TYPE, key_id: str | None = None):
    return dsse_types.Signature(key_id=key_id or signer.public.key_id, raw=signer.sign(dsse_types.pae(kind, payload)))


def put(path: str, value):
    """Sets one field, addressed by a dotted path."""

    def change(document) -> None:
        *way, last = path.split(".")
        for step in way:
            document = document[int(step) if step.isdigit() else step]
        document[int(last) if last.isdigit() else last] = value

    return change


def flip(world: World, kind: intoto.Kind, position: int) -> None:
    def change(document) -> None:
        raw = bytearray(base64.b64decode(document["signatures"][0]["sig"]))
        raw[position] ^= 1
        document["signatures"][0]["sig"] = base64.b64encode(raw).decode()

    world.envelope(kind, change)


def resigned(world: World, kind: intoto.Kind, signer, **claimed) -> None:
    envelope = dsse_types.load(world.attached(world.digest, kind).payload)
    again = dataclasses.replace(envelope, signatures=(signed(signer, envelope.payload, **claimed),))
    world.replace(kind, dsse_types.dump(again))


def by_raw_signature(world: World, raw) -> None:
    envelope = dsse_types.load(world.attached(world.digest, K.PROVENANCE).payload)
    message = dsse_types.pae(envelope.payload_type, envelope.payload)
    signature = dsse_types.Signature(key_id=world.signer.public.key_id, raw=raw(message))
    world.replace(K.PROVENANCE, dsse_types.dump(dataclasses.replace(envelope, signatures=(signature,))))


def swap(world: World, kind: intoto.Kind, source: release.Digest) -> None:
    """The statement of another release in place of this one's."""
    world.replace(kind, world.attached(source, kind).payload)


def rewrite(world: World, kind: intoto.Kind, change) -> None:
    world.replace(kind, change(world.attached(world.digest, kind).payload))


def extra_signature(document, world: World, signer) -> None:
    envelope = dsse_types.load(json.dumps(document).encode())
    added = signed(signer, envelope.payload)
    document["signatures"].append({"keyid": added.key_id, "sig": base64.b64encode(added.raw).decode()})


def replay_approval(world: World) -> None:
    world.add(world.attached(world.other, K.APPROVAL).payload, intoto.PREDICATE_TYPES[K.APPROVAL])


K = intoto.Kind
OTHER_TYPE = "application/vnd.dsse+json"
TAMPERINGS = {
    "predicate-commit": lambda w: w.edit(K.LINEAGE, put("predicate.commit", "b" * 40)),
    "predicate-author": lambda w: w.edit(K.LINEAGE, put("predicate.author", "Eve")),
    "predicate-gate": lambda w: w.edit(K.METRICS, put("predicate.gates.0.value", 0.99)),
    "predicate-tests": lambda w: w.edit(K.TESTS, put("predicate.result", "FAILED")),
    "predicate-lock": lambda w: w.edit(K.LOCK, put("predicate.files.0.digest.sha256", "f" * 64)),
    "predicate-data": lambda w: w.edit(K.DATA, put("predicate.files.0.digest.sha256", "f" * 64)),
    "predicate-model": lambda w: w.edit(K.MODEL, put("predicate.runtime", "torch")),
    "predicate-builder": lambda w: w.edit(K.PROVENANCE, put("predicate.runDetails.builder.id", "https://evil")),
    "predicate-byproducts": lambda w: w.edit(K.PROVENANCE, put("predicate.runDetails.byproducts", [])),
    "predicate-approver": lambda w: w.edit(K.APPROVAL, put("predicate.by", "eve")),
    "predicate-rollout": lambda w: w.edit(K.APPROVAL, put("predicate.rollout", 9)),
    "predicate-environment": lambda w: w.edit(K.APPROVAL, put("predicate.environment", "integration")),
    "subject-digest": lambda w: w.edit(K.LINEAGE, put("subject.0.digest.sha256", w.other.value[7:])),
    "subject-name": lambda w: w.edit(K.LINEAGE, put("subject.0.name", "fares"), signer=w.signer),
    "subject-second": lambda w: w.edit(
        K.LINEAGE, lambda d: d["subject"].append(dict(d["subject"][0])), signer=w.signer
    ),
    "subject-none": lambda w: w.edit(K.LINEAGE, put("subject", []), signer=w.signer),
    "subject-other-hash": lambda w: w.edit(
        K.LINEAGE, lambda d: d["subject"][0]["digest"].update(sha1="0" * 40), signer=w.signer
    ),
    "statement-type": lambda w: w.edit(K.LINEAGE, put("_type", "https://in-toto.io/Statement/v0.1"), signer=w.signer),
    "predicate-type": lambda w: w.edit(K.LINEAGE, put("predicateType", intoto.PREDICATE_TYPES[K.METRICS])),
    "predicate-type-unknown": lambda w: w.edit(K.LINEAGE, put("predicateType", "https://x/v9"), signer=w.signer),
    "predicate-no-object": lambda w: w.edit(K.LINEAGE, put("predicate", []), signer=w.signer),
    "listed-as-another": lambda w: w.replace(
        K.METRICS, w.attached(w.digest, K.METRICS).payload, intoto.PREDICATE_TYPES[K.LOAD]
    ),
    "swapped-provenance": lambda w: swap(w, K.PROVENANCE, w.other),
    "swapped-lineage": lambda w: swap(w, K.LINEAGE, w.other),
    "swapped-service": lambda w: swap(w, K.MODEL, w.foreign),
    "replayed-approval": replay_approval,
    "approval-without-rollout": lambda w: w.edit(K.APPROVAL, lambda d: d["predicate"].pop("rollout"), signer=w.signer),
    "payload-type": lambda w: w.envelope(K.PROVENANCE, put("payloadType", OTHER_TYPE)),
    "payload-type-signed": lambda w: w.replace(
        K.PROVENANCE,
        dsse_types.dump(
            dsse_types.Envelope(
                payload_type=OTHER_TYPE, payload=b"{}", signatures=(signed(w.signer, b"{}", OTHER_TYPE),)
            )
        ),
    ),
    "payload-empty": lambda w: w.envelope(K.PROVENANCE, put("payload", "")),
    "payload-other-base64": lambda w: w.envelope(K.PROVENANCE, lambda d: d.update(payload=d["payload"] + "\n")),
    "signature-first-bit": lambda w: flip(w, K.PROVENANCE, 5),
    "signature-last-bit": lambda w: flip(w, K.APPROVAL, -1),
    "signature-none": lambda w: w.envelope(K.PROVENANCE, put("signatures", [])),
    "signature-twice": lambda w: w.envelope(K.PROVENANCE, lambda d: d["signatures"].append(d["signatures"][0])),
    "signature-of-another-statement": lambda w: w.envelope(
        K.METRICS, put("signatures", json.loads(w.attached(w.digest, K.MODEL).payload)["signatures"])
    ),
    "signature-over-plain-payload": lambda w: by_raw_signature(
        w, lambda message: w.signer.sign(message.split(b" ", 4)[-1])
    ),
    "key-stranger": lambda w: resigned(w, K.PROVENANCE, w.stranger.signer()),
    "key-stranger-of-metrics": lambda w: resigned(w, K.METRICS, w.stranger.signer()),
    "key-stranger-under-trusted-name": lambda w: resigned(
        w, K.PROVENANCE, w.stranger.signer(), key_id=w.signer.public.key_id
    ),
    "key-id-empty": lambda w: w.envelope(K.PROVENANCE, put("signatures.0.keyid", "")),
    "key-extra-stranger": lambda w: w.envelope(K.PROVENANCE, lambda d: extra_signature(d, w, w.stranger.signer())),
    "algorithm-downgraded-rsa": lambda w: by_raw_signature(
        w,
        lambda message: rsa.generate_private_key(65_537, 1_024).sign(message, paddings.PKCS1v15(), hashes.SHA1()),
    ),
    "algorithm-other-curve": lambda w: by_raw_signature(
        w, lambda message: ec.generate_private_key(ec.SECP384R1()).sign(message, ec.ECDSA(hashes.SHA384()))
    ),
    "algorithm-hmac-with-public-key": lambda w: by_raw_signature(
        w, lambda message: hashlib.sha512(w.signer.public.pem + message).digest()
    ),
    "field-unknown": lambda w: w.envelope(K.PROVENANCE, put("algorithm", "none")),
    "field-twice": lambda w: rewrite(w, K.PROVENANCE, lambda raw: raw[:-1] + b',"payloadType":"text/plain"}'),
    "truncated": lambda w: rewrite(w, K.PROVENANCE, lambda raw: raw[: len(raw) // 2]),
    "truncated-to-nothing": lambda w: rewrite(w, K.APPROVAL, lambda raw: b""),
    "trailing-bytes": lambda w: rewrite(w, K.PROVENANCE, lambda raw: raw + b"{}"),
    "removed-provenance": lambda w: w.replace(K.PROVENANCE, None),
    "removed-metrics": lambda w: w.replace(K.METRICS, None),
    "removed-all": lambda w: w.registry._referrers[w.digest].clear(),
}


@pytest.mark.parametrize("elliptic", [False, True])
def test_evidence_as_the_build_left_it_is_accepted(tmp_path, elliptic) -> None:
    world = World(tmp_path, elliptic=elliptic)

    world.proofs.require(world.digest, SIGNED)

    found = world.proofs.verify(world.digest, keys=world.keys.trusted())
    assert {K.LINEAGE, K.MODEL, K.METRICS, K.TESTS, K.LOCK, K.DATA, K.APPROVAL, K.PROVENANCE} == {
        each.statement.kind for each in found.findings
    }
    assert 1 == len(evidence_policy.approvals(found, environment="production", rollout=7))
    assert () == evidence_policy.approvals(found, environment="integration", rollout=7)
    assert () == evidence_policy.approvals(found, environment="production", rollout=8)


def test_there_are_at_least_forty_tamperings() -> None:
    assert len(TAMPERINGS) >= 40


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_evidence_is_refused(tmp_path, name) -> None:
    world = World(tmp_path)
    before = dict(world.registry._referrers[world.digest])

    TAMPERINGS[name](world)

    assert before != world.registry._referrers[world.digest]
    with pytest.raises(errors.ConfigError) as refused:
        world.proofs.require(world.digest, SIGNED)
    assert errors.Code.UNSIGNED is refused.value.code
    world.proofs.require(world.other, SIGNED)


@pytest.mark.parametrize("name", ["signature-first-bit", "signature-last-bit", "key-stranger-under-trusted-name"])
def test_tampered_signatures_of_an_ec_key_are_refused(tmp_path, name) -> None:
    world = World(tmp_path, elliptic=True)

    TAMPERINGS[name](world)

    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.digest, SIGNED)


def test_two_keys_are_two_only_when_they_differ(tmp_path) -> None:
    world = World(tmp_path)
    world.keys.add("second", world.stranger.trusted()[0].pem)
    for each in world.registry.referrers(world.digest, intoto.ARTIFACT_TYPE):
        envelope = dsse_types.load(each.payload)
        both = (*envelope.signatures, signed(world.stranger.signer(), envelope.payload))
        del world.registry._referrers[world.digest][each.digest]
        world.add(
            dsse_types.dump(dataclasses.replace(envelope, signatures=both)),
            each.annotations[intoto.PREDICATE_ANNOTATION],
        )

    two = dataclasses.replace(SIGNED, threshold=2)
    world.proofs.require(world.digest, two)
    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.other, two)
    with pytest.raises(errors.ConfigError):
        world.proofs.require(world.digest, dataclasses.replace(SIGNED, keys=("release",)))


def test_an_approval_by_somebody_unknown_counts_for_nothing_and_stops_nothing(tmp_path) -> None:
    world = World(tmp_path)
    resigned(world, K.APPROVAL, world.stranger.signer())

    found = world.proofs.verify(world.digest, keys=world.keys.trusted())

    assert found.passed
    assert () == evidence_policy.approvals(found, environment="production", rollout=7)


def test_an_environment_that_requires_nothing_takes_what_is_unsigned(tmp_path) -> None:
    world = World(tmp_path)
    world.registry._referrers[world.digest].clear()

    world.proofs.require(world.digest, evidence_policy.EvidenceSpec())


def test_saying_it_again_adds_nothing(tmp_path) -> None:
    world = World(tmp_path, elliptic=True)
    before = world.registry.referrers(world.digest)
    statement = dsse_types.load(world.attached(world.digest, K.MODEL).payload).payload

    assert () == world.proofs.attach([intoto.load(statement)], world.signer)
    assert before == world.registry.referrers(world.digest)
