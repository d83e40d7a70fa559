"""`softlaunch registry gc`, `tag` and `list` on a home whose state says what is used."""

from __future__ import annotations

import os
import sqlite3

import pytest

from softlaunch.adapters.oci import registry
from softlaunch.adapters.sql import store as sql_store
from softlaunch.config import home as homes
from softlaunch.core import release, spec
from softlaunch.core.rollout import machine, phases
from softlaunch.ports import store
from softlaunch.testing import releases

PRODUCTION = spec.EnvironmentSpec(
    name="production", strategy=spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=spec.shares(100, 10_000))
)
STATE = machine.begin(phases.plan_of(PRODUCTION, compared=True), now=1.0, reason="Launch.").state
NAMES = ("previous", "live", "candidate", "next", "pinned", "idle", "tagged")


@pytest.fixture
def used(home, tmp_path) -> dict[str, release.Digest]:
    """One release for every way of being used, and one that nothing uses; all of them old."""
    place = homes.Home.locate(home)
    place.root.chmod(0o700)
    kept = registry.OciRegistry(place.registry)
    found = {name: kept.push(releases.write(tmp_path / "sources" / name, name=name)) for name in NAMES}
    launch = store.RolloutRecord(
        id=1,
        service=releases.SERVICE,
        environment="production",
        candidate=found["candidate"],
        stable=found["live"],
        spec=PRODUCTION,
        state=STATE,
        ref="main",
        commit="c" * 40,
        requested_by="ann",
        salt="5a17",
        created_at=1.0,
        successor=store.Successor(
            id=2, release=found["next"], spec=PRODUCTION, ref="main", commit="d" * 40, requested_by="ann"
        ),
    )
    live = store.LiveRecord(
        service=releases.SERVICE,
        environment="production",
        spec=PRODUCTION,
        stable=release.arm(found["live"], 2),
        previous=found["previous"],
    )
    pin = store.Pin(
        service=releases.SERVICE,
        environment="production",
        release=found["pinned"],
        commit="e" * 40,
        reason="Errors.",
        by="ann",
        at=1.0,
    )
    with sql_store.SqlStore(place.state_file) as state:
        state.commit(store.Change(lives=[live], rollouts=[launch], pins=[pin]))
    for path in (place.registry / "blobs" / "sha256").iterdir():
        os.utime(path, (1.0, 1.0))
    return found


def test_only_what_nothing_uses_goes(run, home, used) -> None:
    assert run("registry", "tag", used["tagged"].value, "audit").code == 0
    shelf = homes.Home.locate(home).releases
    registry.OciRegistry(home / "registry").pull(used["idle"], shelf / used["idle"].value[7:])
    for path in (home / "registry" / "blobs" / "sha256").iterdir():
        os.utime(path, (1.0, 1.0))
    said = run("registry", "gc", "--dry-run", "--json").document
    done = run("registry", "gc")

    assert [used["idle"].value] == said["removed"]
    assert f"{used['idle'].short}  was removed" in done.out
    assert [] == list(shelf.iterdir())
    left = {each["release"]: each["used"] for each in run("registry", "list", "--json").document}
    assert {
        used["previous"].value: ["previous in production"],
        used["live"].value: ["live in production"],
        used["candidate"].value: ["candidate in production"],
        used["next"].value: ["next in production"],
        used["pinned"].value: ["pinned in production"],
        used["tagged"].value: [],
    } == left


def test_a_dry_run_says_why_the_rest_stays(run, used) -> None:
    shown = run("registry", "gc", "--dry-run").out

    assert f"{used['live'].short}  {releases.SERVICE}  stays: live in production" in shown
    assert f"{used['idle'].short}  would be removed" in shown
    assert "2 releases with 0 attached" in shown
    assert 7 == len(run("registry", "list", "--json").document)


def test_a_list_says_where_each_is_used(run, used) -> None:
    lines = run("registry", "list").out.splitlines()

    assert next(line for line in lines if used["live"].short in line).endswith("(live in production)")
    assert not next(line for line in lines if used["idle"].short in line).endswith(")")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gc", "--grace", "5s"), "too short"),
        (("gc", "--grace", "soon"), "soon"),
        (("tag", "nothing-like-it", "v1"), "no release"),
        (("tag", "{idle}", "bad tag"), "cannot be a tag"),
        (("tag", "{idle}", "abcdef12"), "cannot be a tag"),
        (("tag", "{idle}"), "no tag to give"),
        (("tag", "--remove", "v9"), "no tag 'v9'"),
        (("tag", "--remove", "v9", "v10"), "nothing else"),
    ],
)
def test_mistakes_are_said_and_exit_2(run, used, words, said) -> None:
    done = run("registry", *(word.replace("{idle}", used["idle"].value) for word in words))

    assert 2 == done.code
    assert said in done.err


def test_a_tag_moves_only_when_told_to(run, used) -> None:
    run("registry", "tag", used["idle"].value, "champion")
    refused = run("registry", "tag", used["next"].value, "champion")
    moved = run("registry", "tag", used["next"].value, "champion", "--force", "--json")

    assert 2 == refused.code
    assert f"names {used['idle'].short} already" in refused.err
    assert used["next"].value == moved.document["release"]
    assert "champion names no release any more." in run("registry", "tag", "--remove", "champion").out


@pytest.mark.parametrize("damage", ["older", "damaged"])
def test_a_state_that_cannot_be_read_stops_the_collection(run, home, used, damage) -> None:
    state = homes.Home.locate(home).state_file
    if damage == "older":
        with sqlite3.connect(state) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'r0001'")
        connection.close()
    else:
        state.write_bytes(b"no database at all" * 100)
    done = run("registry", "gc")

    assert done.code in (2, 4)
    assert ("`softlaunch up` upgrades it" if damage == "older" else "damaged") in done.err
    assert len(NAMES) == len(list(registry.OciRegistry(home / "registry").listed()))


def test_a_state_that_was_taken_away_stops_the_collection(run, home, used) -> None:
    homes.Home.locate(home).state_file.unlink()
    done = run("registry", "gc")

    assert 4 == done.code
    assert "not there any more" in done.err
    assert len(NAMES) == len(list(registry.OciRegistry(home / "registry").listed()))
