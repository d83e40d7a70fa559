"""Real bundles of the public Sigstore, accepted; and every way of changing one that we know, refused. No network."""

from __future__ import annotations

import base64
import copy
import datetime
import importlib.resources
import json
import pathlib

import pytest
import sigstore_lab
from cryptography.x509.oid import ExtendedKeyUsageOID

from softlaunch import errors
from softlaunch.adapters.signing import sigstore_bundles
from softlaunch.core import dsse_types, identities

GOLDEN = pathlib.Path(__file__).parents[3] / "golden" / "sigstore"
GITHUB = (GOLDEN / "github.sigstore.json").read_bytes()
GITLAB = (GOLDEN / "gitlab.sigstore.json").read_bytes()
STAGING = (GOLDEN / "staging.sigstore.json").read_bytes()
WORKFLOW = "https://github.com/trailofbits/pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2"
ACTIONS = "https://token.actions.githubusercontent.com"
ENTRY = "verificationMaterial.tlogEntries.0"


@pytest.fixture(autouse=True)
def no_network(monkeypatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Verifying opened a connection.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def own() -> sigstore_lab.Sigstore:
    return sigstore_lab.Sigstore()


@pytest.fixture
def root(own, tmp_path) -> str:
    return str(own.trusted_root(tmp_path / "trusted_root.json"))


def read(raw: bytes, root: str = "") -> identities.Bundle:
    return sigstore_bundles.Bundles().read(raw, trusted_root=root)


def refused(raw: bytes, root: str = "") -> str:
    with pytest.raises(dsse_types.MalformedError) as caught:
        read(raw, root)
    return str(caught.value)


def way(document, path: str):
    """The mapping or list that holds the last step of a dotted path, and that step."""
    *steps, last = path.split(".")
    for step in steps:
        document = document[int(step) if step.isdigit() else step]
    return document, int(last) if last.isdigit() else last


def put(path: str, value):
    def change(document) -> None:
        place, last = way(document, path)
        place[last] = value

    return change


def drop(path: str):
    def change(document) -> None:
        place, last = way(document, path)
        del place[last]

    return change


def flip(path: str, position: int):
    def change(document) -> None:
        place, last = way(document, path)
        raw = bytearray(base64.b64decode(place[last]))
        raw[position] ^= 1
        place[last] = base64.b64encode(raw).decode()

    return change


def replace(path: str, old: str, new: str):
    """Exchanges a text inside of Base64."""

    def change(document) -> None:
        place, last = way(document, path)
        raw = base64.b64decode(place[last])
        assert old.encode() in raw
        place[last] = base64.b64encode(raw.replace(old.encode(), new.encode())).decode()

    return change


def take(path: str, source: bytes):
    """The same part of another bundle, which verifies there."""

    def change(document) -> None:
        place, last = way(document, path)
        found, step = way(json.loads(source), path)
        place[last] = found[step]

    return change


def checkpoint(change):
    def edit(document) -> None:
        place, last = way(document, f"{ENTRY}.inclusionProof.checkpoint.envelope")
        place[last] = change(place[last])

    return edit


TAMPERINGS = {
    "payload-subject": (replace("dsseEnvelope.payload", "c9709ce6", "00000000"), "signature"),
    "payload-of-another": (take("dsseEnvelope.payload", GITLAB), "signature"),
    "payload-empty": (put("dsseEnvelope.payload", ""), "signature"),
    "payload-type": (put("dsseEnvelope.payloadType", "text/plain"), "signature"),
    "signature-bit": (flip("dsseEnvelope.signatures.0.sig", 20), "signature"),
    "signature-of-another": (take("dsseEnvelope.signatures", GITLAB), "signature"),
    "signature-none": (put("dsseEnvelope.signatures", []), "signature"),
    "signature-twice": (lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0]), "one"),
    "certificate-bit": (flip("verificationMaterial.certificate.rawBytes", -20), "signature does not match"),
    "certificate-of-another": (take("verificationMaterial.certificate", GITLAB), "valid"),
    "certificate-identity": (
        replace("verificationMaterial.certificate.rawBytes", "trailofbits", "trailofbitz"),
        "signature does not match",
    ),
    "certificate-of-staging": (take("verificationMaterial.certificate", STAGING), "chain"),
    "certificate-none": (drop("verificationMaterial.certificate"), "no certificate"),
    "proof-hash": (flip(f"{ENTRY}.inclusionProof.hashes.0", 0), "inclusion proof"),
    "proof-shorter": (lambda d: d["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"].pop(), "wrong"),
    "proof-index": (put(f"{ENTRY}.inclusionProof.logIndex", "97323995"), "inclusion proof"),
    "proof-root": (flip(f"{ENTRY}.inclusionProof.rootHash", 0), "inclusion proof"),
    "proof-size": (put(f"{ENTRY}.inclusionProof.treeSize", "97323999"), "proof"),
    "proof-of-another": (take(f"{ENTRY}.inclusionProof", GITLAB), "inclusion proof"),
    "proof-none": (drop(f"{ENTRY}.inclusionProof"), "inclusion"),
    "checkpoint-none": (drop(f"{ENTRY}.inclusionProof.checkpoint"), "checkpoint"),
    "checkpoint-size": (checkpoint(lambda note: note.replace("97323998", "97323999")), "checkpoint"),
    "checkpoint-unsigned": (checkpoint(lambda note: note.split("\n\n")[0] + "\n\n"), "signature"),
    "promise-bit": (flip(f"{ENTRY}.inclusionPromise.signedEntryTimestamp", 20), "SET"),
    "promise-of-another": (take(f"{ENTRY}.inclusionPromise", GITLAB), "SET"),
    "promise-none": (drop(f"{ENTRY}.inclusionPromise"), "inclusion promise"),
    "time-a-minute-later": (put(f"{ENTRY}.integratedTime", "1718048905"), "SET"),
    "time-a-day-later": (put(f"{ENTRY}.integratedTime", "1718135245"), "valid at"),
    "time-none": (put(f"{ENTRY}.integratedTime", "0"), "time"),
    "index": (put(f"{ENTRY}.logIndex", "101487428"), "SET"),
    "log-of-another": (put(f"{ENTRY}.logId.keyId", base64.b64encode(bytes(32)).decode()), "checkpoint"),
    "body-of-another": (take(f"{ENTRY}.canonicalizedBody", GITLAB), "inclusion proof"),
    "body-bit": (flip(f"{ENTRY}.canonicalizedBody", 300), "inclusion proof"),
    "entry-of-another": (take("verificationMaterial.tlogEntries", GITLAB), ""),
    "entry-kind": (put(f"{ENTRY}.kindVersion.kind", "hashedrekord"), "hashedrekord"),
    "entry-none": (put("verificationMaterial.tlogEntries", []), "one log entry"),
    "entry-twice": (lambda d: d["verificationMaterial"]["tlogEntries"].append({}), ""),
    "media-type-old": (put("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1"), "version=0.1"),
    "message-signature": (put("messageSignature", {"signature": "AAAA"}), "more than one"),
    "second-spelling": (lambda d: d.update(dsse_envelope=d["dsseEnvelope"]), "more than one"),
    "plain-key": (put("verificationMaterial", {"publicKey": {"hint": ""}, "tlogEntries": []}), "plain key"),
}


def test_a_bundle_of_a_github_workflow_tells_who_and_when() -> None:
    found = read(GITHUB)

    assert (
        identities.Signer(
            subject=WORKFLOW, issuer=ACTIONS, log_index=101487427, integrated_time="2024-06-10T19:47:25+00:00"
        )
        == found.signer
    )
    assert "pypi_attestation_models-0.0.4a2.tar.gz" == json.loads(found.payload)["subject"][0]["name"]


def test_a_bundle_of_a_gitlab_pipeline_tells_who_and_when() -> None:
    signer = read(GITLAB).signer

    assert "https://gitlab.com" == signer.issuer
    assert signer.subject.startswith("https://gitlab.com/")
    assert ("2024-11-19T17:37:00+00:00", 149945774) == (signer.integrated_time, signer.log_index)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_changed_bundle_is_refused_with_the_reason(name) -> None:
    change, reason = TAMPERINGS[name]
    document = json.loads(GITHUB)

    change(document)

    assert document != json.loads(GITHUB)
    said = refused(json.dumps(document).encode())
    assert reason in said, said
    assert len(said) < 400


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (GITHUB[: len(GITHUB) // 2], "no JSON"),
        (GITHUB + b"{}", "no JSON"),
        (GITHUB.strip()[:-1] + b',"mediaType":"x"}', "a field twice"),
        (b"{}", "not a application/vnd.dev.sigstore.bundle.v0.3+json"),
        (b" " * (16 << 20) + GITHUB, "more than"),
    ],
)
def test_what_is_no_bundle_is_refused(raw, reason) -> None:
    assert reason in refused(raw)


def test_a_bundle_of_staging_is_staging_and_not_production(tmp_path) -> None:
    store = importlib.resources.files("sigstore._store") / "https%3A%2F%2Ftuf-repo-cdn.sigstage.dev"
    staging = tmp_path / "staging.json"
    staging.write_bytes((store / "trusted_root.json").read_bytes())

    assert "william@yossarian.net" == read(STAGING, str(staging)).signer.subject
    assert "chain" in refused(STAGING)
    assert "chain" in refused(GITHUB, str(staging))


def test_a_sigstore_of_ones_own_is_believed_by_its_own_root_alone(own, root) -> None:
    raw = json.dumps(own.bundle(b"{}")).encode()

    assert (sigstore_lab.SUBJECT, sigstore_lab.ISSUER) == (
        read(raw, root).signer.subject,
        read(raw, root).signer.issuer,
    )
    assert "chain" in refused(raw)
    assert "chain" in refused(GITHUB, root)


def test_a_person_is_named_by_mail_and_issuer(own, root) -> None:
    made = own.bundle(b"{}", subject="ann@example.com", issuer="https://accounts.google.com")

    signer = read(json.dumps(made).encode(), root).signer

    assert ("ann@example.com", "https://accounts.google.com") == (signer.subject, signer.issuer)


@pytest.mark.parametrize("minutes", [-1, 11])
def test_a_signature_logged_while_its_certificate_was_not_valid_is_refused(own, root, minutes) -> None:
    made = own.bundle(b"{}", logged_after=datetime.timedelta(minutes=minutes))

    assert "valid at" in refused(json.dumps(made).encode(), root)


def test_a_certificate_that_expired_since_it_signed_is_accepted(own, root) -> None:
    then = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(days=20)

    found = read(json.dumps(own.bundle(b"{}", at=then)).encode(), root)

    assert then + datetime.timedelta(seconds=2) == datetime.datetime.fromisoformat(found.signer.integrated_time)


def test_a_certificate_for_servers_signs_nothing(own, root) -> None:
    made = own.bundle(b"{}", purpose=ExtendedKeyUsageOID.SERVER_AUTH)

    assert "code signing" in refused(json.dumps(made).encode(), root)


@pytest.mark.parametrize(("key", "reason"), [("ct_key", "SCT"), ("log_key", "log entry"), ("authority_key", "chain")])
def test_who_has_all_keys_but_one_is_refused(own, root, key, reason) -> None:
    evil = copy.copy(own)
    setattr(evil, key, sigstore_lab.new_key())
    if key == "authority_key":
        evil.authority = evil._authority("intermediate", evil.authority_key, evil.root)
        evil.root_key = sigstore_lab.new_key()
        evil.authority = evil._authority("intermediate", evil.authority_key, evil.root)

    assert reason in refused(json.dumps(evil.bundle(b"{}")).encode(), root)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"mediaType": "x"}', None])
def test_what_is_no_trusted_root_is_an_error_and_no_refusal(tmp_path, content) -> None:
    path = tmp_path / "root.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(errors.ConfigError) as caught:
        read(GITHUB, str(path))

    assert errors.Code.TRUSTED_ROOT is caught.value.code
    assert str(path) in caught.value.message


def test_a_trusted_root_without_logs_is_an_error(own, tmp_path) -> None:
    path = own.trusted_root(tmp_path / "root.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "tlogs": []}))

    with pytest.raises(errors.ConfigError) as caught:
        read(GITHUB, str(path))

    assert errors.Code.TRUSTED_ROOT is caught.value.code


def test_a_path_that_leads_to_another_number_in_a_smaller_log_is_refused(tmp_path) -> None:
    own = sigstore_lab.Sigstore()
    fifth = [own.bundle(b"{}") for _ in range(5)][-1]
    proof = fifth["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    assert ("4", "5") == (proof["logIndex"], proof["treeSize"])

    proof.update(logIndex="2", treeSize="3")  # as many steps to the root, and the library follows them

    said = refused(json.dumps(fifth).encode(), str(own.trusted_root(tmp_path / "root.json")))
    assert "another size than the log's checkpoint" in said
