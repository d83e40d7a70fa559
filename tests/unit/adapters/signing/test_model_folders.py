from __future__ import annotations

import json
import pathlib

import pytest

from softlaunch import errors
from softlaunch.adapters.signing import keys, model_folders


@pytest.fixture
def own(tmp_path) -> keys.KeyDirectory:
    found = keys.KeyDirectory(tmp_path / "keys", {})
    found.new("models", elliptic=True)
    return found


@pytest.fixture
def model(tmp_path) -> pathlib.Path:
    found = tmp_path / "model"
    (found / "deep").mkdir(parents=True)
    (found / "model.onnx").write_bytes(b"weights")
    (found / "deep" / "tokenizer.json").write_text("{}")
    return found


def refused(model, signature, key) -> str:
    with pytest.raises(errors.ConfigError) as found:
        model_folders.verify(model, signature, key)
    assert errors.Code.MODEL_SIGNATURE is found.value.code
    return found.value.message


def test_a_signature_may_lie_in_the_folder_it_signs(own, model) -> None:
    signature = model / "model.sig"

    assert 2 == model_folders.sign(model, own.signer(), signature)
    assert 2 == model_folders.verify(model, signature, own.trusted()[0])


def change(model) -> None:
    (model / "model.onnx").write_bytes(b"poison!")


def add(model) -> None:
    (model / "deep" / "more.py").write_text("")


def remove(model) -> None:
    (model / "deep" / "tokenizer.json").unlink()


def link(model) -> None:
    (model / "link").symlink_to("model.onnx")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [(change, "was changed"), (add, "was added"), (remove, "is missing"), (link, "symbolic link")],
)
def test_a_folder_that_was_tampered_with_is_refused(own, model, tmp_path, tamper, said) -> None:
    signature = tmp_path / "model.sig"
    model_folders.sign(model, own.signer(), signature)

    tamper(model)

    assert said in refused(model, signature, own.trusted()[0])


def bundle_type(document) -> None:
    document["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.1+json"


def payload_type(document) -> None:
    document["dsseEnvelope"]["payloadType"] = "text/plain"


def no_key(document) -> None:
    document["verificationMaterial"] = {"certificate": {}}


def no_signature(document) -> None:
    document["dsseEnvelope"]["signatures"] = []


def other_signature(document) -> None:
    document["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"


@pytest.mark.parametrize("tamper", [bundle_type, payload_type, no_key, no_signature, other_signature])
def test_a_bundle_that_was_tampered_with_is_refused(own, model, tmp_path, tamper) -> None:
    signature = tmp_path / "model.sig"
    model_folders.sign(model, own.signer(), signature)
    document = json.loads(signature.read_text())

    tamper(document)
    signature.write_text(json.dumps(document))

    assert refused(model, signature, own.trusted()[0])


def test_another_key_and_a_key_of_the_wrong_kind_are_refused(own, model, tmp_path) -> None:
    signature = tmp_path / "model.sig"
    model_folders.sign(model, own.signer(), signature)
    plain = own.new("plain")

    assert "another key" in refused(model, signature, plain)
    with pytest.raises(errors.ConfigError) as found:
        model_folders.sign(model, own.signer_named("plain"), signature)
    assert errors.Code.MODEL_SIGNATURE is found.value.code
