"""What leaves the log: files, and the account of whom a release has touched."""

from __future__ import annotations

import csv
import json
import pathlib

import pyarrow.parquet as pq
import pytest
import typer.testing

from softlaunch import errors
from softlaunch.cli import main

MAP = "rows: csv\ntime: ts\nid: id\nkey: user\nfeatures: [amount]\nanswer: [score]\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> pathlib.Path:
    """Forty predictions of a champion and twenty of a challenger; every second one is labelled."""
    root = tmp_path_factory.mktemp("exports")
    (root / "map.yaml").write_text(MAP)
    for release, count in (("champion", 40), ("challenger", 20)):
        rows = [f"{release}{n},2026-11-01T00:{n:02d}:00,u{n % 5},{n},0.5" for n in range(count)]
        (root / f"{release}.csv").write_text("\n".join(["id,ts,user,amount,score", *rows]))
        brought = run(
            root, "log", "import", str(root / f"{release}.csv"), "-s", "shop", "--format", "map",
            "--map", str(root / "map.yaml"), "--release", release,
        )  # fmt: skip
        assert count == brought["added"]
    labels = [{"prediction_id": f"champion{n}", "value": n % 4 == 0} for n in range(0, 40, 2)]
    (root / "truth.jsonl").write_text("\n".join(map(json.dumps, labels)))
    assert 20 == run(root, "labels", "push", str(root / "truth.jsonl"), "--name", "late")["added"]
    return root


def run(root: pathlib.Path, *words: str) -> dict:
    done = typer.testing.CliRunner().invoke(main.APP, [*words, "--home", str(root / "home"), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert 0 == done.exit_code, done.output
    return json.loads(done.stdout)


def test_every_prediction_with_its_label_as_parquet(home, tmp_path) -> None:
    target = tmp_path / "train.parquet"
    assert {"file": str(target), "rows": 60} == run(home, "log", "export", str(target), "--label", "late")

    rows = pq.read_table(target).to_pylist()
    assert 60 == len(rows)
    known = {row["id"]: row["label_value"] for row in rows if row["label_value"] is not None}
    assert {f"champion{n}:0": float(n % 4 == 0) for n in range(0, 40, 2)} == known
    assert {"amount": 3} == next(row["features"] for row in rows if row["id"] == "champion3:0")
    assert 0o600 == target.stat().st_mode & 0o777


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_query_as_text(home, tmp_path, suffix) -> None:
    target = tmp_path / f"two.{suffix}"
    run(home, "log", "export", str(target), "--sql", "SELECT id, features FROM predictions ORDER BY id LIMIT 2")

    with target.open() as file:
        found = list(csv.DictReader(file)) if suffix == "csv" else [json.loads(line) for line in file]
    assert ["challenger0:0", "challenger10:0"] == [row["id"] for row in found]
    amounts = [row["features.amount"] if suffix == "csv" else row["features"]["amount"] for row in found]
    assert (["0", "10"] if suffix == "csv" else [0, 10]) == amounts


def test_json_has_no_numbers_that_are_none(home, tmp_path) -> None:
    target = tmp_path / "odd.jsonl"
    sql = "SELECT 'nan'::DOUBLE AS a, ['inf'::DOUBLE, 1.5] AS b, DATE '2026-11-24' AS c, 'x'::BLOB AS d"
    run(home, "log", "export", str(target), "--sql", sql)

    assert {"a": None, "b": [None, 1.5], "c": "2026-11-24", "d": "x"} == json.loads(target.read_text())


def test_what_is_there_stays_and_what_fails_leaves_nothing(home, tmp_path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("mine")
    with pytest.raises(errors.ConfigError, match="there already"):
        run(home, "log", "export", str(target))
    with pytest.raises(errors.ConfigError, match="cannot be answered"):
        run(home, "log", "export", str(target), "--force", "--sql", "SELECT nothing FROM predictions")
    with pytest.raises(errors.ConfigError, match="Both --sql and --label"):
        run(home, "log", "export", str(target), "--force", "--sql", "SELECT 1", "--label", "late")
    with pytest.raises(errors.ConfigError, match="format of"):
        run(home, "log", "export", str(tmp_path / "a.xlsx"))
    with pytest.raises(errors.ConfigError, match="cannot be written"):
        run(home, "log", "export", str(tmp_path / "nowhere" / "a.csv"))

    assert ["a.csv"] == [path.name for path in tmp_path.iterdir()]
    assert "mine" == target.read_text()


def test_whom_a_release_has_touched(home, tmp_path) -> None:
    target = tmp_path / "touched.csv"
    found = run(home, "impact", "champion", "--out", str(target))

    assert (["champion"], 40, 40, 5, 40) == tuple(
        found[name] for name in ("releases", "predictions", "seen_by_users", "key_count", "written")
    )
    assert {f"u{n}": 8 for n in range(5)} == {each["key"]: each["predictions"] for each in found["keys"]}
    assert [{"name": "late", "labelled": 20, "mean": 0.5}] == found["labels"]
    assert ("2026-11-01T00:00:00Z", "2026-11-01T00:39:00Z") == (found["first"], found["last"])
    with target.open() as file:
        assert {f"champion{n}:0" for n in range(40)} == {row["id"] for row in csv.DictReader(file)}


def test_a_release_that_answered_nothing_is_said(home) -> None:
    with pytest.raises(errors.ConfigError, match="No prediction of shop was made by 'nobody'"):
        run(home, "impact", "nobody")
