from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core import lockfile

PINS = {"https://models.example.com/b.onnx": "b" * 64, "https://models.example.com/a.onnx": "a" * 64}


def test_pins_are_read_back_and_sorted() -> None:
    raw = lockfile.dump(PINS)

    assert lockfile.load(raw) == PINS
    assert raw.index(b"a.onnx") < raw.index(b"b.onnx")


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"7", b'{"schema": 2, "sha256": {}}', b'{"schema": 1}', b'{"schema": 1, "sha256": {"u": "short"}}'],
)
def test_another_file_is_refused(raw) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        lockfile.load(raw)

    assert refused.value.code is errors.Code.PIN_FILE


MODELS = {"models:/tips@champion": lockfile.ModelPin(version="3", sha256="c" * 64)}


def test_pins_of_models_are_read_back_beside_those_of_urls() -> None:
    raw = lockfile.dump(PINS, MODELS)

    assert (PINS, MODELS) == (lockfile.load(raw), lockfile.load_models(raw))


def test_a_file_without_models_is_as_it_always_was() -> None:
    assert lockfile.dump(PINS) == lockfile.dump(PINS, {})
    assert b'"models"' not in lockfile.dump(PINS, {})
    assert {} == lockfile.load_models(lockfile.dump(PINS))


@pytest.mark.parametrize("models", ["[]", '{"m": 3}', '{"m": {"version": 3, "sha256": ""}}', '{"m": {"version": "3"}}'])
def test_a_broken_pin_of_a_model_is_refused(models) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        lockfile.load_models(f'{{"schema": 1, "sha256": {{}}, "models": {models}}}'.encode())

    assert refused.value.code is errors.Code.PIN_FILE
