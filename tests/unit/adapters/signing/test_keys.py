from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from softlaunch import errors
from softlaunch.adapters.signing import keys, primitives
from softlaunch.ports import signing


@pytest.fixture
def directory(tmp_path):
    return keys.KeyDirectory(tmp_path / "keys", {"WORD": "correct horse"})


@pytest.mark.parametrize("elliptic", [False, True])
def test_what_a_new_key_signs_verifies_by_its_public_half_alone(directory, tmp_path, elliptic) -> None:
    public = directory.new("release", elliptic=elliptic)
    signer = directory.signer()

    signature = signer.sign(b"message")

    assert public == signer.public == directory.trusted()[0]
    assert primitives.Verifier().verifies(public, b"message", signature)
    assert not primitives.Verifier().verifies(public, b"massage", signature)
    assert not primitives.Verifier().verifies(public, b"message", signature[:-1])
    assert 0o600 == stat.S_IMODE((tmp_path / "keys" / "release.key").stat().st_mode)


def test_a_key_never_verifies_by_the_other_algorithm(directory) -> None:
    public = directory.new("release", elliptic=True)
    signature = directory.signer().sign(b"message")
    claimed = signing.PublicKey(
        name="release", key_id=public.key_id, algorithm=signing.Algorithm.ED25519, pem=public.pem
    )

    assert not primitives.Verifier().verifies(claimed, b"message", signature)


def test_a_locked_key_is_encrypted_and_names_the_variable_of_its_passphrase_only(directory, tmp_path) -> None:
    directory.new("release", passphrase_variable="WORD")

    raw = (tmp_path / "keys" / "release.key").read_bytes()
    assert b"ENCRYPTED" in raw
    assert b"correct horse" not in raw
    assert "WORD" == directory.kept()[0].passphrase_variable
    assert directory.signer().sign(b"x")
    for variables in ({}, {"WORD": "wrong"}):
        with pytest.raises(errors.ConfigError) as refused:
            keys.KeyDirectory(tmp_path / "keys", variables).signer()
        assert errors.Code.KEY_LOCKED is refused.value.code


def test_an_existing_key_is_never_replaced(directory) -> None:
    directory.new("release")

    with pytest.raises(errors.ConflictError) as refused:
        directory.new("release")

    assert errors.Code.KEY_EXISTS is refused.value.code


@pytest.mark.parametrize("name", ["", "../x", "-x", "a b", "x" * 65])
def test_what_cannot_name_a_file_cannot_name_a_key(directory, name) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        directory.new(name)

    assert errors.Code.KEY_NAME is refused.value.code


def pem(key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "raw",
    [
        pem(rsa.generate_private_key(65_537, 2_048)),
        pem(ec.generate_private_key(ec.SECP384R1())),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"",
    ],
)
def test_other_kinds_of_keys_are_refused(directory, raw) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        directory.add("other", raw)

    assert errors.Code.KEY_UNREADABLE is refused.value.code


def test_a_public_key_is_trusted_and_signs_nothing(directory, tmp_path) -> None:
    elsewhere = keys.KeyDirectory(tmp_path / "elsewhere", {})
    public = elsewhere.new("ci")

    directory.add("vendor", public.pem)

    assert [(public.key_id, False)] == [(each.public.key_id, each.signs) for each in directory.kept()]
    assert directory.signer() is None
    assert public.key_id == directory.trusted([str(tmp_path / "elsewhere" / "ci.pub")])[0].key_id
    with pytest.raises(errors.ConfigError) as refused:
        directory.trusted(["nobody"])
    assert errors.Code.NO_KEY is refused.value.code
    with pytest.raises(errors.ConfigError):
        directory.signer_named("vendor")


def test_of_several_keys_the_one_named_release_signs(directory) -> None:
    directory.new("a")
    directory.new("b")
    with pytest.raises(errors.ConfigError):
        directory.signer()

    directory.new("release")

    assert "release" == directory.signer().public.name


def test_a_private_key_that_others_could_read_is_refused(directory, tmp_path) -> None:
    directory.new("release")
    (tmp_path / "keys" / "release.key").chmod(0o644)

    with pytest.raises(errors.ConfigError) as refused:
        directory.signer()

    assert errors.Code.PRIVATE_FILE is refused.value.code
