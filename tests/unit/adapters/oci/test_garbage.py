"""Garbage of a layout: what is needed stays whole, what is not goes, and what is being written is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import threading
import time

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import blobs, garbage, layout
from softlaunch.adapters.oci import registry as oci
from softlaunch.core import release
from softlaunch.testing import releases

GRACE_SECONDS = 3_600.0
NOTHING = frozenset[release.Digest]()


class Shelf:
    """A layout, and what is in it as a slow and obvious book says."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.root = directory / "registry"
        self.registry = oci.OciRegistry(self.root)
        self.garbage = garbage.Garbage(self.root)
        self._sources = directory / "sources"

    def push(self, name: str) -> release.Digest:
        directory = self._sources / name
        if not directory.exists():
            releases.write(directory, name=name)
            (directory / "model").mkdir(exist_ok=True)
            (directory / "model" / "weights").write_text(f"weights {int(name) % 3}")  # layers are shared
        return self.registry.push(directory)

    def attach(self, digest: release.Digest, text: str) -> None:
        self.registry.refer(digest, artifact_type="text/x", media_type="text/x", payload=text.encode(), annotations={})

    def grow_old(self) -> None:
        for path in blobs.Blobs(self.root).files():
            with contextlib.suppress(FileNotFoundError):  # a collection has been faster
                os.utime(path, (1.0, 1.0))

    def collect(self, needed=NOTHING, *, grace_seconds: float = GRACE_SECONDS, **more) -> garbage.Collected:
        return self.garbage.collect(lambda: needed, grace_seconds=grace_seconds, **more)

    def files(self) -> set[str]:
        return {path.name for path in blobs.Blobs(self.root).files()}

    def whole(self) -> set[release.Digest]:
        """The releases that are listed, every blob of each and of what is attached compared with its digest."""
        for each in layout.Index(self.root).read():
            manifest = json.loads(blobs.Blobs(self.root).get(each.digest))
            for found in (manifest["config"], *manifest["layers"]):
                blobs.Blobs(self.root).get(release.Digest(found["digest"]))
        return {release.Digest(each["release"]) for each in self.registry.listed()}


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_lives_of_a_registry_end_as_the_book_says(shelf, seed) -> None:
    chance = random.Random(seed)
    present: dict[release.Digest, set[str]] = {}
    young: set[release.Digest] = set()
    for _ in range(40):
        what = chance.choices(["push", "attach", "claim", "age", "collect"], [6, 4, 2, 2, 3])[0]
        some = chance.choice(sorted(present)) if present else None
        if what == "push":
            digest = shelf.push(str(chance.randrange(8)))
            present.setdefault(digest, set())
            young.add(digest)
        elif what == "age":
            shelf.grow_old()
            young.clear()
        elif what == "attach" and some is not None:
            text = str(chance.randrange(4))
            shelf.attach(some, text)
            present[some].add(text)
            young.add(some)
        elif what == "claim" and some is not None:
            assert shelf.registry.claim(some)
            young.add(some)
        elif what == "collect":
            needed = {each for each in present if chance.random() < 0.4}
            done = shelf.collect(needed)
            gone = present.keys() - needed - young
            assert gone == set(done.releases)
            present = {each: texts for each, texts in present.items() if each not in gone}
        assert present.keys() == shelf.whole()
        for each, texts in present.items():
            assert texts == {found.payload.decode() for found in shelf.registry.referrers(each)}
    shelf.grow_old()
    shelf.collect()

    assert set() == shelf.whole()
    assert set() == shelf.files(), "nothing is left of what nothing needs"


def test_a_dry_run_removes_nothing_and_says_the_same(shelf) -> None:
    kept, gone = shelf.push("1"), shelf.push("2")
    shelf.attach(gone, "report")
    shelf.grow_old()
    before = shelf.files()
    said = shelf.collect({kept}, dry_run=True)

    assert before == shelf.files()
    assert said == shelf.collect({kept})
    assert ((gone,), 1) == (said.releases, said.referrer_count)
    assert said.freed_bytes > 0


def test_what_is_attached_to_an_attachment_goes_with_the_release(shelf) -> None:
    digest = shelf.push("1")
    shelf.attach(digest, "statement")
    (statement,) = shelf.registry.referrers(digest)
    subject = next(each for each in layout.Index(shelf.root).read() if each.digest == statement.digest)
    storage = blobs.Blobs(shelf.root)
    oci.attachments.Attachments(storage, layout.Index(shelf.root)).add(
        subject, artifact_type="text/y", media_type="text/y", payload=b"signed", annotations={}
    )
    shelf.grow_old()
    done = shelf.collect()

    assert ((digest,), 2) == (done.releases, done.referrer_count)
    assert set() == shelf.files()


def test_what_was_written_halfway_goes_when_it_is_old_and_not_before(shelf) -> None:
    shelf.push("1")
    half = shelf.root / "blobs" / "sha256" / ".writing-killed"
    half.write_bytes(b"half")
    shelf.collect()
    assert half.exists()
    os.utime(half, (1.0, 1.0))
    shelf.collect()

    assert not half.exists()


@pytest.mark.parametrize("damage", ["index", "manifest", "no manifest"])
def test_what_cannot_be_read_stops_it_before_anything_is_removed(shelf, damage) -> None:
    digest, other = shelf.push("1"), shelf.push("2")
    path = blobs.Blobs(shelf.root).path(digest)
    if damage == "index":
        (shelf.root / "index.json").write_text("{")
    elif damage == "manifest":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    shelf.grow_old()
    before = shelf.files()

    with pytest.raises(errors.UnavailableError):
        shelf.collect({other})
    assert before == shelf.files()


def test_the_state_that_cannot_be_read_stops_it_too(shelf) -> None:
    digest = shelf.push("1")
    shelf.grow_old()

    def needed() -> set[release.Digest]:
        raise errors.UnavailableError("no state", remedy="", code=errors.Code.STATE_DAMAGED)

    with pytest.raises(errors.UnavailableError):
        shelf.garbage.collect(needed, grace_seconds=GRACE_SECONDS)
    assert {digest} == shelf.whole()


def test_a_push_of_what_a_collection_is_about_to_remove_ends_whole(shelf) -> None:
    """Old files of equal content lie there, listed by nobody: the push makes them young, or writes them again."""
    shelf.push("2")  # without an index.json a collection refuses
    stopping = threading.Event()
    wrong: list[Exception] = []

    def collect() -> None:
        while not stopping.is_set():
            try:
                shelf.collect(grace_seconds=30.0)
            except Exception as error:  # noqa: BLE001 - told below: a thread's own end is seen by nobody
                wrong.append(error)
                return

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:
            shelf.grow_old()
            digest = shelf.push("1")
            shelf.registry.check(digest)
    finally:
        stopping.set()
        collector.join()
    assert [] == wrong


def test_a_claimed_release_is_left_alone(shelf) -> None:
    digest = shelf.push("1")
    shelf.grow_old()

    assert shelf.registry.claim(digest)
    assert (digest,) == shelf.collect().young
    assert {digest} == shelf.whole()
    shelf.grow_old()
    shelf.collect()
    assert not shelf.registry.claim(digest)


def test_tags_name_releases_and_move(shelf) -> None:
    one, two = shelf.push("1"), shelf.push("2")
    shelf.registry.tag("v1", one)
    shelf.registry.tag("champion", one)
    assert [["champion", "v1"], []] == [each["registry_tags"] for each in shelf.registry.listed()]
    shelf.registry.tag("champion", two)

    assert {"v1": one, "champion": two} == shelf.registry.tags()
    assert (one, two) == (shelf.registry.resolve("v1"), shelf.registry.resolve("champion"))
    shelf.registry.tag("v1", None)
    shelf.registry.tag("champion", None)
    assert {} == shelf.registry.tags()
    assert [one, two] == [release.Digest(each["release"]) for each in shelf.registry.listed()]
    assert 2 == len(layout.Index(shelf.root).read())


@pytest.mark.parametrize("damage", ["gone", "older"])
def test_an_index_that_lost_what_is_needed_stops_it(shelf, damage) -> None:
    index = shelf.root / "index.json"
    shelf.push("1")
    before = index.read_bytes()
    live = shelf.push("2")
    shelf.grow_old()
    if damage == "gone":
        index.unlink()
    else:
        index.write_bytes(before)
    files = shelf.files()

    with pytest.raises(errors.UnavailableError, match="Nothing was removed"):
        shelf.collect({live})
    assert files == shelf.files()


def test_who_waits_in_vain_is_told_for_whom(shelf, monkeypatch) -> None:
    monkeypatch.setattr(blobs, "LOCK_SECONDS_MAX", 0.1)
    digest = shelf.push("1")

    with blobs.locked(shelf.root, exclusive=True), pytest.raises(errors.UnavailableError) as found:
        shelf.registry.claim(digest)

    assert errors.Code.REGISTRY_BUSY is found.value.code
    assert f"process {os.getpid()}" in found.value.message
    assert shelf.registry.claim(digest)


def test_what_is_unpacked_can_be_put_aside_while_nobody_else_can_write(shelf, monkeypatch) -> None:
    monkeypatch.setattr(blobs, "LOCK_SECONDS_MAX", 0.0)
    digest = shelf.push("1")
    shelf.grow_old()
    told = []

    def removed(found: release.Digest) -> None:
        with pytest.raises(errors.UnavailableError), blobs.locked(shelf.root):
            pass
        told.append(found)

    shelf.collect(removed=removed)
    assert [digest] == told
