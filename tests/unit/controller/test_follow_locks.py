"""A branch's lock is looked at every so often, and what softlaunch commits is followed like any other commit."""

from __future__ import annotations

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import gitops_lab

from softlaunch import errors
from softlaunch.core import gitops


@pytest.fixture
def lab(tmp_path) -> gitops_lab.Lab:
    found = gitops_lab.Lab(tmp_path, update_lock="main", require_signed=True)
    found.server.signed.add(found.push(gitops_lab.GOOD))
    found.begin()
    found.until(gitops.Standing.SYNCED)
    return found


def test_what_has_moved_becomes_a_commit_and_a_launch(lab) -> None:
    lab.pinned = gitops_lab.BETTER
    lab.run(gitops_lab.LOCK_EVERY_SECONDS + gitops_lab.EVERY_SECONDS)
    found = lab.until(gitops.Standing.SYNCED)

    assert lab.release(gitops_lab.BETTER) == lab.live()
    shown = lab.whole()["lock"]
    assert found["desired"]["commit"] == shown["commit"], "although nobody signed it: softlaunch wrote it itself"
    assert (False, "main") == (shown["trouble"], shown["branch"])
    texts = [event.text for event in lab.world.store.events() if event.kind == "git"]
    assert any("updated by" in text for text in texts)


def test_it_is_looked_at_as_often_as_asked(lab) -> None:
    before = len(lab.locker.looks)
    lab.run(5 * gitops_lab.LOCK_EVERY_SECONDS)

    assert len(lab.locker.looks) - before in (4, 5)


def test_a_look_that_fails_is_said_and_harms_nothing(lab) -> None:
    def broken(_: str) -> None:
        raise errors.UnavailableError("MLflow is away.", remedy="Wait.", code=errors.Code.DOWNLOAD_FAILED)

    lab.locker._look = broken
    lab.run(gitops_lab.LOCK_EVERY_SECONDS + 1.0)

    assert (True, "MLflow is away.") == (lab.whole()["lock"]["trouble"], lab.whole()["lock"]["text"])
    assert "synced" == lab.view()["standing"]


def test_a_restart_does_not_look_sooner(lab) -> None:
    lab.run(1.0)
    before = len(lab.locker.looks)
    lab.restart()
    lab.run(gitops_lab.LOCK_EVERY_SECONDS / 4)

    assert before == len(lab.locker.looks)


def test_a_branch_that_no_environment_is_made_of_is_said(tmp_path) -> None:
    lab = gitops_lab.Lab(tmp_path, update_lock="other")
    lab.push(gitops_lab.GOOD)
    lab.begin()
    lab.until(gitops.Standing.SYNCED)

    assert "No environment is made of branch 'other'" in lab.whole()["lock"]["text"]
    assert [] == lab.locker.looks
