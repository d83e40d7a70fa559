"""Signing by Sigstore's own library, against the test Sigstore on this machine; what it made, verified offline."""

from __future__ import annotations

import base64
import datetime
import importlib.util
import json
import logging
import shutil

import distribution_lab
import pytest
import sigstore_lab
import sigstore_server

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.oci import remote
from softlaunch.adapters.signing import keyless, keys, primitives, sigstore_bundles
from softlaunch.controller import evidence
from softlaunch.core import dsse_types, evidence_policy, identities, intoto, release, release_json
from softlaunch.testing import registry as memory

STATEMENT = intoto.dump(
    intoto.Statement(
        kind=intoto.Kind.LOAD, service="tips", subject=release.Digest(f"sha256:{'a' * 64}"), predicate={"files": []}
    )
)
TIMED = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the timestamps, is missing")
CI_VARIABLES = ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")


@pytest.fixture(autouse=True)
def no_job(monkeypatch) -> None:
    for name in CI_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path):
    with sigstore_server.serving(tmp_path) as found:
        yield found


def signer(server, environ) -> keyless.Signer:
    found = keyless.token(environ)
    assert found is not None
    return keyless.Signer(found, trusted_root=server.trusted_root, signing_config=server.signing_config)


def by_variable(server, **claims):
    return {keyless.TOKEN_VARIABLE: server.token(**claims)}


def test_what_a_job_signed_verifies_offline_as_the_jobs(server) -> None:
    made = signer(server, by_variable(server)).sign(STATEMENT)
    asked = len(server.paths)

    found = sigstore_bundles.Bundles().read(made, trusted_root=server.trusted_root)

    assert (STATEMENT, intoto.PAYLOAD_TYPE) == (found.payload, found.payload_type)
    assert (sigstore_lab.SUBJECT, sigstore_lab.ISSUER, 0) == (
        found.signer.subject,
        found.signer.issuer,
        found.signer.log_index,
    )
    assert asked == len(server.paths)
    assert "application/vnd.dev.sigstore.bundle.v0.3+json" == json.loads(made)["mediaType"]


def test_one_certificate_signs_several_statements_each_logged(server) -> None:
    job = signer(server, by_variable(server))

    made = [job.sign(STATEMENT) for _ in range(3)]

    assert ["/api/v2/signingCert", *["/api/v1/log/entries"] * 3] == server.paths
    assert [0, 1, 2] == [
        sigstore_bundles.Bundles().read(raw, trusted_root=server.trusted_root).signer.log_index for raw in made
    ]


@TIMED
def test_a_log_that_gives_no_time_is_dated_by_a_timestamp_authority(server) -> None:
    server.log_version, server.timed = 2, True
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    job = signer(server, by_variable(server))
    job.sign(STATEMENT)

    made = job.sign(STATEMENT)

    found = sigstore_bundles.Bundles().read(made, trusted_root=server.trusted_root).signer
    assert (1, sigstore_lab.SUBJECT) == (found.log_index, found.subject)
    assert before <= datetime.datetime.fromisoformat(found.integrated_time) <= datetime.datetime.now(datetime.UTC)
    assert "hashedrekord" == json.loads(made)["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["kind"]


def timestamps(document):
    return document["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]


@TIMED
@pytest.mark.parametrize("change", ["none", "bit", "of-another", "two", "stranger"])
def test_a_changed_timestamp_is_refused(server, change) -> None:
    server.log_version, server.timed = 2, True
    job = signer(server, by_variable(server))
    first, document = json.loads(job.sign(STATEMENT)), json.loads(job.sign(STATEMENT))
    (own,) = timestamps(document)
    root = server.trusted_root
    if change == "none":
        timestamps(document).clear()
    elif change == "bit":
        raw = bytearray(base64.b64decode(own["signedTimestamp"]))
        raw[-5] ^= 1
        own["signedTimestamp"] = sigstore_lab.text(raw)
    elif change == "of-another":
        document["verificationMaterial"]["timestampVerificationData"] = first["verificationMaterial"][
            "timestampVerificationData"
        ]
    elif change == "two":
        timestamps(document).append(timestamps(first)[0])
    else:
        server.sigstore.time_key = sigstore_lab.new_key()
        server.sigstore.clock = server.sigstore._clock()
        root = server.trusted_root

    with pytest.raises(dsse_types.MalformedError) as caught:
        sigstore_bundles.Bundles().read(json.dumps(document).encode(), trusted_root=root)

    assert "time" in str(caught.value)


@TIMED
def test_a_log_with_a_time_and_a_timestamp_authority_beside_it_agree(server) -> None:
    server.timed = True

    made = signer(server, by_variable(server)).sign(STATEMENT)

    assert 1 == len(timestamps(json.loads(made)))
    assert 0 == sigstore_bundles.Bundles().read(made, trusted_root=server.trusted_root).signer.log_index


def test_the_token_of_a_github_job_is_fetched_as_github_says(server, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", sigstore_server.REQUEST_TOKEN)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{server.url}/token?api-version=2.0")

    assert sigstore_lab.SUBJECT == signer(server, {}).identity.subject
    assert ["/token", "/api/v2/signingCert"] == server.paths


def test_a_github_job_without_the_permission_has_no_token(monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)

    assert keyless.token({}) is None


def test_a_gitlab_job_has_its_token_in_a_variable_or_none(server, monkeypatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.delenv(keyless.TOKEN_VARIABLE, raising=False)
    assert keyless.token({}) is None

    token = server.token(iss="https://gitlab.com", job_workflow_ref="org/tips")
    assert "https://gitlab.com" == signer(server, {keyless.TOKEN_VARIABLE: token}).identity.issuer


def test_without_the_library_only_a_job_that_is_to_sign_fails(monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "sigstore" else found(name, *rest)
    )

    assert keyless.token({}) is None
    for does in (lambda: keyless.token({keyless.TOKEN_VARIABLE: "x"}), keyless.no_token):
        with pytest.raises(errors.ConfigError) as caught:
            does()
        assert errors.Code.NO_SIGSTORE is caught.value.code
        assert "softlaunch[sigstore]" in caught.value.remedy
    with pytest.raises(errors.ConfigError) as caught:
        sigstore_bundles.Bundles().read(b"{}", trusted_root="")
    assert errors.Code.NO_SIGSTORE is caught.value.code


def test_a_provider_where_nobody_can_log_in_is_an_error(server) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        keyless.token_by_browser(server.signing_config)

    assert errors.Code.NO_IDENTITY_TOKEN is caught.value.code
    assert "answered 404" in caught.value.message


def test_a_token_may_lie_in_a_file(server, tmp_path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{server.token(email='ann@example.com', iss='https://accounts.google.com')}\n")

    found = signer(server, {keyless.TOKEN_FILE_VARIABLE: str(path)})

    assert identities.Identity(issuer="https://accounts.google.com", subject="ann@example.com") == found.identity
    with pytest.raises(errors.ConfigError) as caught:
        keyless.token({keyless.TOKEN_FILE_VARIABLE: str(tmp_path / "none")})
    assert errors.Code.NO_IDENTITY_TOKEN is caught.value.code


def bad_tokens(server):
    head, _, signature = server.token().split(".")
    claims = base64.urlsafe_b64encode(b'{"iss": "x"}').decode().rstrip("=")
    return {
        "expired": (server.token(seconds=-60), "expired"),
        "audience": (server.token(audience="vault"), "Audience"),
        "claims": (f"{head}.{claims}.{signature}", "missing"),
        "garbage": ("s3cr3t-of-another-kind", "malformed"),
    }


@pytest.mark.parametrize("kind", ["expired", "audience", "claims", "garbage"])
def test_a_token_that_cannot_be_used_is_told_without_the_token(server, kind) -> None:
    token, why = bad_tokens(server)[kind]

    with pytest.raises(errors.ConfigError) as caught:
        keyless.token({keyless.TOKEN_VARIABLE: token})

    assert errors.Code.NO_IDENTITY_TOKEN is caught.value.code
    assert why in caught.value.message
    assert token not in str(caught.value)
    assert caught.value.__suppress_context__
    assert [] == server.paths


def test_no_error_and_no_log_repeats_a_token_that_the_server_repeats(server, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    token = server.token()
    server.provider_key = sigstore_lab.new_key()

    with pytest.raises(errors.UnavailableError) as caught:
        signer(server, {keyless.TOKEN_VARIABLE: token})

    assert errors.Code.SIGSTORE_SERVICE is caught.value.code
    assert token not in str(caught.value)
    assert caught.value.__suppress_context__
    assert token not in caplog.text


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/api/v2/signingCert", (500, b"{}")),
        ("/api/v2/signingCert", (200, b"<html>")),
        ("/api/v2/signingCert", (200, b"{}")),
    ],
)
def test_an_authority_that_answers_rubbish_is_an_error(server, path, answer) -> None:
    server.broken[path] = answer

    with pytest.raises(errors.UnavailableError) as caught:
        signer(server, by_variable(server))

    assert errors.Code.SIGSTORE_SERVICE is caught.value.code


def test_a_certificate_of_another_authority_is_not_signed_with(server) -> None:
    job_root = server.trusted_root
    server.sigstore = sigstore_lab.Sigstore()

    with pytest.raises(errors.UnavailableError) as caught:
        keyless.Signer(
            keyless.token(by_variable(server)), trusted_root=_copied(job_root), signing_config=server.signing_config
        )

    assert "SCT" in caught.value.message


def test_what_a_strange_log_answers_is_not_attached(server) -> None:
    job = signer(server, by_variable(server))
    server.sigstore.log_key = sigstore_lab.new_key()

    with pytest.raises(errors.UnavailableError) as caught:
        job.sign(STATEMENT)

    assert "log entry" in caught.value.message


@pytest.mark.parametrize("answer", [(500, b"{}"), (201, b"{}"), (409, b"{}")])
def test_a_log_that_does_not_take_the_entry_is_an_error(server, answer) -> None:
    job = signer(server, by_variable(server))
    server.broken["/api/v1/log/entries"] = answer

    with pytest.raises(errors.UnavailableError):
        job.sign(STATEMENT)


def test_services_that_are_away_are_an_error(tmp_path) -> None:
    with sigstore_server.serving(tmp_path) as other:
        environ, root, gone = by_variable(other), other.trusted_root, other.signing_config

    with pytest.raises(errors.UnavailableError) as caught:
        keyless.Signer(keyless.token(environ), trusted_root=root, signing_config=gone)

    assert errors.Code.SIGSTORE_SERVICE is caught.value.code


def test_half_a_sigstore_of_ones_own_is_refused(server) -> None:
    token = keyless.token(by_variable(server))

    with pytest.raises(errors.ConfigError) as caught:
        keyless.Signer(token, trusted_root=server.trusted_root, signing_config="")

    assert errors.Code.TRUSTED_ROOT is caught.value.code


def test_statements_are_signed_once_by_one_identity_and_again_by_another(server, tmp_path) -> None:
    registry = memory.MemoryRegistry()
    digest = _release(registry, tmp_path)
    statement = intoto.Statement(kind=intoto.Kind.LOAD, service="tips", subject=digest, predicate={"files": []})
    proofs = evidence.Evidence(
        releases=registry,
        keys=keys.KeyDirectory(tmp_path / "keys", {}),
        verifier=primitives.Verifier(),
        bundles=sigstore_bundles.Bundles(),
    )

    assert 1 == len(proofs.attach([statement], signer(server, by_variable(server))))
    assert 0 == len(proofs.attach([statement], signer(server, by_variable(server))))
    assert 1 == len(proofs.attach([statement], signer(server, by_variable(server, email="ann@example.com"))))

    first, _ = registry.referrers(digest, identities.ARTIFACT_TYPE)
    assert {
        identities.CONTENT_ANNOTATION: "dsse-envelope",
        identities.PREDICATE_ANNOTATION: intoto.PREDICATE_TYPES[intoto.Kind.LOAD],
    } == first.annotations


def test_bundles_travel_with_their_release_and_verify_where_they_arrive(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    here, there = tmp_path / "here", tmp_path / "there"
    digest = _release(oci_registry.OciRegistry(here), tmp_path)
    proofs = evidence.Evidence(
        releases=oci_registry.OciRegistry(here),
        keys=keys.KeyDirectory(tmp_path / "keys", {}),
        verifier=primitives.Verifier(),
        bundles=sigstore_bundles.Bundles(),
    )
    statement = intoto.Statement(kind=intoto.Kind.PROVENANCE, service="tips", subject=digest, predicate={})
    job = signer(server, by_variable(server))
    proofs.attach([statement], job)

    with distribution_lab.served(distribution_lab.Distribution(has_referrers=True)) as host:
        remote.OciRemote(here).send(digest, f"{host}/tips:v1")
        remote.OciRemote(there).fetch(f"{host}/tips:v1")

    arrived = evidence.Evidence(
        releases=oci_registry.OciRegistry(there),
        keys=keys.KeyDirectory(tmp_path / "none", {}),
        verifier=primitives.Verifier(),
        bundles=sigstore_bundles.Bundles(),
    )
    trusted = identities.Trust(identities=(job.identity,), trusted_root=server.trusted_root)
    arrived.require(digest, evidence_policy.EvidenceSpec(require=evidence_policy.Requirement.SIGNED, people=trusted))


def test_a_damaged_bundle_does_not_keep_a_good_one_away(server, tmp_path) -> None:
    registry = memory.MemoryRegistry()
    digest = _release(registry, tmp_path)
    statement = intoto.Statement(kind=intoto.Kind.LOAD, service="tips", subject=digest, predicate={"files": []})
    proofs = evidence.Evidence(
        releases=registry,
        keys=keys.KeyDirectory(tmp_path / "keys", {}),
        verifier=primitives.Verifier(),
        bundles=sigstore_bundles.Bundles(),
    )
    job = signer(server, by_variable(server))
    document = json.loads(job.sign(intoto.dump(statement)))
    document["dsseEnvelope"]["signatures"][0]["sig"] = sigstore_lab.text(bytes(70))
    registry.refer(
        digest,
        artifact_type=identities.ARTIFACT_TYPE,
        media_type=identities.ARTIFACT_TYPE,
        payload=json.dumps(document).encode(),
        annotations={},
    )

    assert 1 == len(proofs.attach([statement], job))


@pytest.mark.parametrize(
    "said", ["it was {}", "code=401, body=b'{}'", "Buildkite: the Buildkite agent encountered an error: {}"]
)
def test_a_message_of_the_library_that_holds_the_token_is_told_without_it(said) -> None:
    assert "e30.e30.c2ln" not in keyless._said(ValueError(said.format("e30.e30.c2ln")), "e30.e30.c2ln")


def _copied(path: str) -> str:
    """The file as it is now, under another name."""
    return str(shutil.copy(path, f"{path}.kept"))


def _release(registry, directory) -> release.Digest:
    content = release.ReleaseContent(
        service="tips",
        runtime=release.Runtime.ONNX,
        model_file="model.onnx",
        python_target=None,
        signature=release.Signature(inputs=(), outputs=()),
        lock_file=None,
        profile_file=None,
        smoke_file=None,
        gates=(),
    )
    made = directory / "release"
    made.mkdir()
    (made / "release.json").write_bytes(release_json.dump_content(content))
    (made / "model.onnx").write_bytes(b"model")
    return registry.push(made)
