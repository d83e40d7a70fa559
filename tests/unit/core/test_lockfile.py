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
