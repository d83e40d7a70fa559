"""Files of evidence: a torn end is left out, damage is said, and a second process may read."""

from __future__ import annotations

import pathlib
import resource
import signal

import pytest

from softlaunch import errors
from softlaunch.adapters.archive import files


def chain(directory: pathlib.Path) -> pathlib.Path:
    return next(directory.glob("7/*.chain"))


def test_a_block_that_was_being_written_when_the_process_died_is_left_out(tmp_path):
    shelf = files.FileArchive(tmp_path)
    kept = shelf.append(7, b"whole")
    with chain(tmp_path).open("ab") as torn:
        torn.write(b"SLE1\x40\x00\x00\x00")

    assert [b"whole"] == [found.content for found in shelf.read(7)]
    assert kept == shelf.truncate(7, kept)
    shelf.append(7, b"next")
    assert [b"whole", b"next"] == [found.content for found in shelf.read(7)]


def test_a_flipped_bit_is_damage_and_never_evidence(tmp_path):
    shelf = files.FileArchive(tmp_path)
    shelf.append(7, b"evidence")
    raw = bytearray(chain(tmp_path).read_bytes())
    raw[-1] ^= 1
    chain(tmp_path).write_bytes(raw)

    with pytest.raises(errors.UnavailableError, match="checksum") as caught:
        list(shelf.read(7))
    assert errors.Code.EVIDENCE_DAMAGED is caught.value.code


def test_a_disk_that_takes_half_of_a_block_keeps_none_of_it(tmp_path):
    shelf = files.FileArchive(tmp_path)
    end = shelf.append(7, b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (end + 100, before[1]))
    try:
        with pytest.raises(errors.UnavailableError):
            shelf.append(7, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert [b"before"] == [found.content for found in shelf.read(7)]
    assert end == chain(tmp_path).stat().st_size


def test_nobody_else_may_read_the_evidence(tmp_path):
    shelf = files.FileArchive(tmp_path / "evidence")
    shelf.append(7, b"user names")

    assert 0o700 == (tmp_path / "evidence" / "7").stat().st_mode & 0o777
    assert 0o600 == chain(tmp_path / "evidence").stat().st_mode & 0o777
