from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
import typer.testing

from softlaunch.adapters.lake import delta, profiles
from softlaunch.cli import main
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.core import release
from softlaunch.core.drift import binning, live_profile, profile
from softlaunch.core.prediction_log import progress
from softlaunch.wiring import log_keeping

START = datetime.datetime(2026, 11, 24, 13, tzinfo=datetime.UTC)
HOUR = int(START.timestamp()) // 3_600
VALUES = np.random.default_rng(5).normal(size=4_000)
COMPARED = binning.of_column(release.Datatype.FP64, profile.profile_numeric("x", VALUES), reference_row_count=4_000)
GENERAL = binning.of_column(release.Datatype.BYTES, None)


def counted(shift: float) -> live_profile.LiveProfile:
    columns = {}
    for part, name, bins, values in (
        (live_profile.FEATURES, "x", COMPARED, VALUES[:500] + shift),
        (live_profile.ANSWER, "label", GENERAL, ["a", "b"] * 250),
    ):
        key = live_profile.ColumnKey(part=part, name=name, binning=bins.digest)
        columns[key] = live_profile.counted(bins.count(bins.values(values)))
    return live_profile.LiveProfile(row_count=510, feature_row_count=500, answer_row_count=500, columns=columns)


@pytest.fixture
def home(tmp_path) -> homes.Home:
    found = homes.Home(tmp_path / "home", run_root=tmp_path)
    (found.log / "pricing" / delta.TABLE).mkdir(parents=True)
    store = profiles.SqliteProfiles(found.log)
    made = {
        live_profile.Key(environment="production", release="0123456789ab", arm=arm, hour=HOUR + hour): counted(shift)
        for arm, hour, shift in (("stable", 0, 0.0), ("stable", 1, 0.0), ("candidate", 1, 3.0), ("", 30, 0.0))
    }
    store.prepare("pricing", "production", mark="m", profiles=made, binnings=[COMPARED, GENERAL])
    store.settle("pricing", {"production": progress.Progress(version=1, profiles="m")})
    return found


def asked(home: homes.Home, *words: str):
    return typer.testing.CliRunner().invoke(main.APP, ["log", "profile", *words, "--home", str(home.root)])


def documents(home: homes.Home, *words: str) -> list[dict]:
    result = asked(home, *words, "--json")
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)["profiles"]


def test_hours_are_summed_up_by_release_and_arm(home) -> None:
    unknown, candidate, stable = documents(home)

    assert [None, "candidate", "stable"] == [each["arm"] for each in (unknown, candidate, stable)]
    assert ("2026-11-24T13:00:00Z", "2026-11-24T15:00:00Z", 2, 1_020) == tuple(
        stable[name] for name in ("from", "to", "hours", "rows")
    )
    same, moved = stable["columns"][0], candidate["columns"][0]
    assert same["ks"] < 0.06
    assert 0.8 < moved["ks"] <= 1.0
    assert same["psi"] < moved["psi"]
    label = next(each for each in stable["columns"] if each["name"] == "label")
    assert ("answer", False, None, 2) == tuple(label[name] for name in ("part", "reference", "psi", "distinct"))


def test_a_range_an_arm_a_release_and_an_environment_are_picked(home) -> None:
    assert ["candidate", "stable"] == [each["arm"] for each in documents(home, "--to", "2026-11-25")]
    assert ["stable"] == [each["arm"] for each in documents(home, "--to", "2026-11-24T14")]
    assert [None] == [each["arm"] for each in documents(home, "--from", "2026-11-24T16:00+01:00", "--arm", "unknown")]
    assert [1, 1] == [each["hours"] for each in documents(home, "--arm", "stable", "--hourly")]
    assert 3 == len(documents(home, "--release", "0123", "--env", "production"))
    assert [] == documents(home, "--release", "ffff")
    assert [] == documents(home, "--env", "integration")


def test_people_see_a_table(home) -> None:
    shown = asked(home, "--arm", "stable").output

    assert "0123456789ab in production, stable, 2026-11-24T13:00:00Z to 2026-11-24T15:00:00Z: 1,020 rows" in shown
    assert "answer label" in shown
    assert "No row of pricing was counted there." in asked(home, "--env", "integration").output


@pytest.mark.parametrize("words", [("--arm", "left"), ("--from", "yesterday")])
def test_what_is_no_choice_is_refused(home, words) -> None:
    result = asked(home, *words)

    assert 0 != result.exit_code
    assert words[1] in str(result.exception)


def test_profiles_end_with_the_days_that_are_not_kept(home, monkeypatch) -> None:
    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return START + datetime.timedelta(days=8)

    monkeypatch.setattr(log_keeping.datetime, "datetime", Later)
    settings = setting.read({"SOFTLAUNCH_LOG_KEEP": "7d"})
    log_keeping.keep(home, settings, "pricing", dry_run=True)
    assert 4 == len(profiles.SqliteProfiles(home.log).read("pricing").profiles)

    log_keeping.keep(home, settings, "pricing")
    # Of the hours of the 24th none is left; the 25th is the oldest day that is kept.
    assert [HOUR + 30] == [key.hour for key, _ in profiles.SqliteProfiles(home.log).read("pricing").profiles]
