"""What every inbox and every table of labels promise."""

from __future__ import annotations

import datetime
import json
import pathlib

import duckdb
import pytest
import s3_kit

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta, keeping, label_views
from softlaunch.adapters.lake import labels as tables
from softlaunch.adapters.lake import place as places
from softlaunch.adapters.local import inbox as local
from softlaunch.core.labels import record
from softlaunch.core.prediction_log import progress
from softlaunch.ports import labels as ports
from softlaunch.testing import labels as memory

NOW = 1_763_000_000.25


def label(prediction: str = "a:0", *, value: float | None = 1.0, text: str | None = None) -> record.Label:
    return record.Label(
        prediction_id=prediction,
        key_name=None,
        key=None,
        at=NOW - 60,
        arrived=NOW,
        name="späť",
        value=value,
        text=text,
        version=2**62,
        rater="anna\n\u2028x",
    )


def pushed(name: str = "p1", *, urgent: bool = True, labels: tuple[record.Label, ...] = (label(),)) -> ports.Push:
    return ports.Push(name=name, source="truth.csv", urgent=urgent, labels=list(labels))


@pytest.fixture(params=["local", "memory"])
def inbox(request, tmp_path):
    return local.LocalInbox(tmp_path) if request.param == "local" else memory.MemoryInbox()


@pytest.fixture(params=["delta", pytest.param("s3", marks=s3_kit.MARKS), "memory"])
def table(request, tmp_path):
    if request.param == "memory":
        return memory.MemoryLabels()
    url = request.getfixturevalue("bucket") if request.param == "s3" else None
    return tables.DeltaLabels(places.Root(folder=tmp_path, url=url))


def test_an_inbox_gives_back_what_was_put_the_oldest_first(inbox) -> None:
    assert {} == inbox.waiting()
    second = pushed("second", urgent=False, labels=(label(), label("b:0", value=None, text="spam\n")))

    inbox.put("shop", second, now=NOW + 1)
    inbox.put("shop", pushed("first"), now=NOW)
    inbox.put("pricing", pushed("first"), now=NOW)

    assert {
        "pricing": [ports.Waiting(name="first", since=NOW, urgent=True)],
        "shop": [
            ports.Waiting(name="first", since=NOW, urgent=True),
            ports.Waiting(name="second", since=NOW + 1, urgent=False),
        ],
    } == inbox.waiting()
    assert second == inbox.read("shop", "second")
    assert inbox.read("shop", "third") is None


def test_a_push_that_comes_twice_waits_once_and_is_gone_when_dropped(inbox) -> None:
    inbox.put("shop", pushed(), now=NOW)
    inbox.put("shop", pushed(labels=(label("other:0"),)), now=NOW + 5)

    assert [NOW] == [each.since for each in inbox.waiting()["shop"]]
    assert pushed() == inbox.read("shop", "p1")
    inbox.drop("shop", {"p1", "never-there"})
    assert {} == inbox.waiting()


def test_labels_are_added_once_for_each_push(table) -> None:
    assert set() == table.known("shop", {"p1"})

    assert 1 == table.append("shop", [pushed("p1")])
    assert 2 == table.append("shop", [pushed("p1"), pushed("p2", labels=(label(), label("b:0")))])
    assert 0 == table.append("shop", [pushed("p2"), pushed("empty", labels=())])

    assert {"p1", "p2"} == table.known("shop", {"p1", "p2", "empty"})
    assert set() == table.known("pricing", {"p1"})


def test_the_table_has_every_member_as_it_came(tmp_path: pathlib.Path) -> None:
    table = tables.DeltaLabels(tmp_path)
    table.append("shop", [pushed(labels=(label(), label("b:0", value=None, text="spam")))])

    files = [str(path) for path in (tmp_path / "shop").rglob("*.parquet")]
    rows = duckdb.execute(
        'SELECT * EXCLUDE day REPLACE (epoch("at") AS "at", epoch(arrived) AS arrived) FROM read_parquet($1)'
        " ORDER BY line",
        [files],
    ).fetchall()

    names = [field.name for field in tables.SCHEMA if field.name != tables.DAY]
    first, second = (dict(zip(names, row, strict=True)) for row in rows)
    assert ("a:0", 1.0, None, 2**62, "anna\n\u2028x", "späť") == tuple(
        first[name] for name in ("prediction_id", "value", "text", "version", "rater", "name")
    )
    assert (NOW - 60, NOW) == (first["at"], first["arrived"])
    assert ("truth.csv", "p1", 0) == (first["source"], first["push"], first["line"])
    assert (None, "spam", 1) == (second["value"], second["text"], second["line"])


@pytest.mark.parametrize("damage", ["flipped", "truncated", "schema", "no-json"])
def test_a_damaged_push_is_set_aside_and_the_rest_goes_on(tmp_path: pathlib.Path, damage: str) -> None:
    inbox = local.LocalInbox(tmp_path)
    inbox.put("shop", pushed("bad"), now=NOW)
    inbox.put("shop", pushed("good"), now=NOW)
    (path,) = (tmp_path / "shop" / "inbox").glob("*-bad.labels")
    content = path.read_bytes()
    head, _, body = content.partition(b"\n")
    path.write_bytes(
        {
            "flipped": content.replace(b"a:0", b"b:0"),
            "truncated": content[:-3],
            "schema": json.dumps({**json.loads(head), "schema": 2}).encode() + b"\n" + body,
            "no-json": b"\x00" * 40,
        }[damage]
    )

    assert inbox.read("shop", "bad") is None

    assert [path.name] == [found.name for found in (tmp_path / "shop" / "quarantine").iterdir()]
    assert ["good"] == [each.name for each in inbox.waiting()["shop"]]


def test_what_waits_is_for_its_owner_alone_and_half_a_file_is_not_there(tmp_path: pathlib.Path) -> None:
    inbox = local.LocalInbox(tmp_path)
    inbox.put("shop", pushed(), now=NOW)
    (path,) = (tmp_path / "shop" / "inbox").iterdir()
    (path.parent / "01763000000250000-u-p9.4711.part").write_bytes(b"{")

    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)
    assert ["p1"] == [each.name for each in inbox.waiting()["shop"]]


def test_a_folder_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "inbox").write_text("a file in the way")

    with pytest.raises(errors.UnavailableError, match="cannot be kept"):
        local.LocalInbox(tmp_path).put("shop", pushed(), now=NOW)


@pytest.mark.parametrize("where", ["disk", pytest.param("s3", marks=s3_kit.MARKS)])
def test_labels_are_asked_of_and_forgotten_where_they_are(request, tmp_path, where: str) -> None:
    url = request.getfixturevalue("bucket") if where == "s3" else None
    root = places.Root(folder=tmp_path, url=url)
    key = label()._replace(prediction_id=None, key="person-4711")
    tables.DeltaLabels(root).append("shop", [pushed(labels=(label("a:0"), label("b:0"), key))])
    delta.DeltaLake(root).append("shop", [], environment="production", progress=progress.Progress(version=1))
    keeper = keeping.Keeper(root.place("shop", tables.TABLE), sorted_by="prediction_id")

    def kept() -> list[object]:
        view = label_views.Labelled(place=root.place("shop", tables.TABLE), as_of=datetime.datetime.now(datetime.UTC))
        found = asking.ask(
            root.place("shop", delta.TABLE), "SELECT coalesce(prediction_id, key) FROM labels ORDER BY 1", labelled=view
        )
        return [name for (name,) in found.rows]

    assert ["a:0", "b:0", "person-4711"] == kept()
    assert 2 == keeper.forget_labels("person-4711", key_name=None, ids=["b:0"], dry_run=True)
    assert 2 == keeper.forget_labels("person-4711", key_name=None, ids=["b:0"])
    assert ["a:0"] == kept()
    assert 1 == len(keeper.keep(datetime.datetime.now(datetime.UTC).date(), keep_days=None).days_sorted)
    assert ["a:0"] == kept()
    if where == "disk":
        for path in (tmp_path / "shop").rglob("*"):
            assert not path.is_file() or b"person-4711" not in path.read_bytes()
