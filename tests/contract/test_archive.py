"""Every archive keeps what it was given, forgets what it is told to, and says where it stands."""

from __future__ import annotations

import pathlib

import pytest

from softlaunch.adapters.archive import files
from softlaunch.ports import archive
from softlaunch.testing import archive as memory


@pytest.fixture(params=["memory", "files"])
def shelf(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> archive.Archive:
    return memory.MemoryArchive() if request.param == "memory" else files.FileArchive(tmp_path / "evidence")


def contents(shelf: archive.Archive, rollout_id: int = 7) -> list[bytes]:
    return [found.content for found in shelf.read(rollout_id)]


def test_blocks_come_back_in_order_with_the_positions_they_were_given(shelf):
    ends = [shelf.append(7, b"one"), shelf.append(7, b"two"), shelf.append(8, b"other")]

    assert [(b"one", True, ends[0]), (b"two", False, ends[1])] == [
        (found.content, found.opens, found.ends) for found in shelf.read(7)
    ]


def test_an_unknown_rollout_has_nothing(shelf):
    assert [] == contents(shelf)
    assert () == shelf.chains(7)
    assert 0 == shelf.truncate(7, 0)
    shelf.delete(7)
    shelf.drop_oldest(7)


def test_what_was_added_after_a_position_is_forgotten(shelf):
    kept = shelf.append(7, b"kept")
    shelf.append(7, b"gone")
    shelf.append(7, b"gone, too", opens=True)

    assert kept == shelf.truncate(7, kept)
    assert [b"kept"] == contents(shelf)
    shelf.append(7, b"again")
    assert [b"kept", b"again"] == contents(shelf)


def test_a_position_that_was_never_written_is_not_reached(shelf):
    end = shelf.append(7, b"all there is")

    assert end == shelf.truncate(7, end + 100)


def test_dropping_the_oldest_chain_moves_no_position(shelf):
    shelf.append(7, b"old")
    shelf.append(7, b"old as well")
    end = shelf.append(7, b"new", opens=True)
    shelf.drop_oldest(7)

    assert [(b"new", True, end)] == [(found.content, found.opens, found.ends) for found in shelf.read(7)]
    assert 1 == len(shelf.chains(7))
    assert end < shelf.append(7, b"newer")


def test_the_only_chain_is_not_dropped(shelf):
    shelf.append(7, b"only")
    shelf.drop_oldest(7)

    assert [b"only"] == contents(shelf)


def test_a_deleted_rollout_begins_at_nothing(shelf):
    first = shelf.append(7, b"one")
    shelf.delete(7)

    assert [] == contents(shelf)
    assert first == shelf.append(7, b"two")
