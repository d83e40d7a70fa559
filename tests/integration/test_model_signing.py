"""Folders of models, signed here and verified by OpenSSF's model-signing, and the other way round."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
import uv

from softlaunch import errors
from softlaunch.adapters.signing import keys, model_folders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> pathlib.Path:
    """model_signing in an environment of its own: it pins packages that others need newer."""
    place = tmp_path_factory.mktemp("model-signing") / "venv"
    program = uv.find_uv_bin()
    subprocess.run([program, "venv", "--quiet", "--python", "3.11", place], check=True)
    packages = ["model-signing>=1.1,<2", "pyopenssl>=25"]
    subprocess.run([program, "pip", "install", "--quiet", "--python", place / "bin" / "python", *packages], check=True)
    return place / "bin" / "model_signing"


@pytest.fixture
def model(tmp_path) -> pathlib.Path:
    found = tmp_path / "model"
    (found / "deep").mkdir(parents=True)
    (found / "model.onnx").write_bytes(bytes(range(256)) * 1_000)
    (found / "deep" / "tokenizer.json").write_text("{}")
    (found / ".gitignore").write_text("*\n")
    return found


@pytest.fixture
def own(tmp_path) -> keys.KeyDirectory:
    found = keys.KeyDirectory(tmp_path / "keys", {})
    found.new("models", elliptic=True)
    return found


def run(program, *arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_what_we_sign_model_signing_verifies_and_refuses_when_it_was_changed(program, model, own, tmp_path) -> None:
    signature, public = tmp_path / "model.sig", tmp_path / "keys" / "models.pub"
    assert 2 == model_folders.sign(model, own.signer(), signature)

    verifying = ("verify", "key", model, "--signature", signature, "--public_key", public)
    good = run(program, *verifying)
    (model / "model.onnx").write_bytes(b"poison")
    bad = run(program, *verifying)

    assert 0 == good.returncode, good.stdout + good.stderr
    assert 0 != bad.returncode


def test_what_model_signing_signs_we_verify_and_refuse_when_it_was_changed(program, model, own, tmp_path) -> None:
    signature = tmp_path / "model.sig"
    private = tmp_path / "keys" / "models.key"
    signed = run(program, "sign", "key", model, "--signature", signature, "--private_key", private)
    assert 0 == signed.returncode, signed.stdout + signed.stderr

    (public,) = own.trusted()
    assert 2 == model_folders.verify(model, signature, public)

    (model / "deep" / "more.py").write_text("import evil\n")
    with pytest.raises(errors.ConfigError) as refused:
        model_folders.verify(model, signature, public)
    assert errors.Code.MODEL_SIGNATURE is refused.value.code
    assert "deep/more.py was added" in refused.value.message
