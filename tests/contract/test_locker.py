"""ports.locker.Locker over every adapter."""

from __future__ import annotations

import json
import pathlib
import stat

import pytest

from softlaunch import errors
from softlaunch.adapters.local import lock_process
from softlaunch.ports import locker
from softlaunch.testing import locker as lockers


class Processes:
    """`softlaunch lock` itself is tried in tests/integration/gitops; here a program says what it would."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._answer = directory / "answer"
        self._code = directory / "code"
        program = directory / "program"
        program.write_text(f'#!/bin/sh\ncat "{self._answer}"\nexit $(cat "{self._code}")\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.port: locker.Locker = lock_process.LockProcesses(home=directory, program=[str(program)])

    def moves(self, commit: str) -> None:
        found = {"stale": [{"role": "model"}], "branch": "develop", "commit": commit, "taken_back": None}
        self._answer.write_text(json.dumps(found))
        self._code.write_text("0")

    def breaks(self, text: str) -> None:
        self._answer.write_text(json.dumps({"error": text}))
        self._code.write_text("4")


class Memory:
    def __init__(self, _: pathlib.Path) -> None:
        self._said: locker.Updated | errors.SoftlaunchError = locker.Updated(commit="", text="")
        self.port: locker.Locker = lockers.MemoryLocker(self._look)

    def moves(self, commit: str) -> None:
        self._said = locker.Updated(commit=commit, text=f"{commit}: model moved")

    def breaks(self, text: str) -> None:
        self._said = errors.UnavailableError(text, remedy="", code=errors.Code.GIT_FAILED)

    def _look(self, _: str) -> locker.Updated:
        if isinstance(self._said, errors.SoftlaunchError):
            raise self._said
        return self._said


@pytest.fixture(params=[Processes, Memory])
def kept(request, tmp_path):
    return request.param(tmp_path)


def test_a_commit_is_told_with_what_moved(kept, tmp_path) -> None:
    kept.moves("1" * 40)
    found = kept.port.update(tmp_path, "develop")

    assert "1" * 40 == found.commit
    assert "model moved" in found.text


def test_what_is_wrong_is_raised_with_its_sentence(kept, tmp_path) -> None:
    kept.breaks("MLflow is away.")

    with pytest.raises(errors.UnavailableError, match=r"MLflow is away\."):
        kept.port.update(tmp_path, "develop")


def test_nothing_begins_once_it_is_closed(kept, tmp_path) -> None:
    kept.moves("1" * 40)
    kept.port.close()

    with pytest.raises(errors.UnavailableError, match="going down"):
        kept.port.update(tmp_path, "develop")
