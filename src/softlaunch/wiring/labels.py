"""Labels: who brings them, and what they come to. Heavy libraries, as the log's; control planes do not import this."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta, label_views
from softlaunch.adapters.lake import labels as tables
from softlaunch.adapters.local import inbox as local_inbox
from softlaunch.config import home as homes
from softlaunch.controller.labels import pushing, taking
from softlaunch.core.labels import record, rules
from softlaunch.ports import labels as ports
from softlaunch.wiring import label_rules, log_lock, log_place, reading, setting_aside

FORMATS = ("jsonl", "csv", "parquet")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_UNIT_LETTERS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """A file of labels."""

    file: pathlib.Path | None
    """None: standard input."""
    service: str
    format: str | None
    """None: by the file's name; standard input is JSON lines."""
    mapped: pushing.Mapped
    again: bool
    """Also if this very file was pushed before."""
    dry_run: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pushed:
    outcome: pushing.Outcome
    waiting: bool
    """The shipper has not taken them within a minute."""
    quarantine: pathlib.Path | None


def push(home: homes.Home, order: Order, *, tell: Callable[[int], None]) -> Pushed:
    """
    Brings a file's labels into the table.

    Raises:
        ConfigError: the service is not known, or the file cannot be used.
        UnavailableError: the labels cannot be kept, or not be added to the table now.
    """
    service = known_service(home, order.service)
    inbox, table = local_inbox.LocalInbox(home.log), tables.DeltaLabels(log_place.root(home))
    now = time.time()
    with _there(order.file) as (path, source):
        kind = order.format or ("jsonl" if order.file is None else _SUFFIXES.get(_suffix(path)))
        if kind is None:
            raise rules.refuse(f"The format of {path.name} is not clear.", f"Say --format {'|'.join(FORMATS)}.")
        recipe: list[Any] = [reading.digest(path, rules.refuse), kind, dataclasses.asdict(order.mapped)]
        if order.again:
            recipe.append(now)
        unit = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:_UNIT_LETTERS]

        def keep(name: str, labels: Sequence[record.Label]) -> bool:
            if table.known(service, [name]):
                return False
            if not order.dry_run:
                inbox.put(service, ports.Push(name=name, source=source, urgent=True, labels=labels), now=now)
            return True

        rows = enumerate(reading.contents(path, kind, rules.refuse), start=2 if kind == "csv" else 1)
        outcome = pushing.push(
            ((number, row) for number, row in rows if not isinstance(row, bytes) or row.strip()),
            mapped=order.mapped,
            textual=kind == "csv",
            unit=unit,
            now=now,
            keep=keep,
            tell=tell,
        )
    if order.dry_run:
        return Pushed(outcome=outcome, waiting=False, quarantine=None)
    place = home.log / service / "quarantine" / f"labels-{unit}.jsonl"
    if outcome.bad:
        setting_aside.write(place, outcome.bad)
    is_waiting = bool(outcome.names) and not _taken(home, service, outcome.names)
    return Pushed(outcome=outcome, waiting=is_waiting, quarantine=place if outcome.bad else None)


def taker(home: homes.Home, *, every_seconds: float) -> taking.Taking:
    """What the shipper does beside moving predictions."""
    return taking.Taking(
        inbox=local_inbox.LocalInbox(home.log),
        labels=tables.DeltaLabels(log_place.root(home)),
        every_seconds=every_seconds,
    )


def joined(home: homes.Home, service: str, *, as_of: datetime.datetime | None = None) -> label_views.Labelled:
    """
    The views of a service's labels.

    Args:
        home: Whose.
        service: Its name.
        as_of: None: as known now.

    Raises:
        ConfigError: the declarations are damaged.
    """
    return label_views.Labelled(
        place=log_place.labels(home, service),
        declared=label_rules.read(home, service),
        as_of=as_of or datetime.datetime.now(datetime.UTC),
        is_past=as_of is not None,
    )


def status(home: homes.Home, service: str, *, as_of: datetime.datetime | None = None) -> dict[str, Any]:
    """
    What labels there are, and how many predictions have one.

    Raises:
        ConfigError: there is no prediction log.
    """
    view = joined(home, service, as_of=as_of)
    path = log_place.predictions(home, service)
    moment = view.as_of
    waits = local_inbox.LocalInbox(home.log).waiting().get(service, [])
    found: dict[str, Any] = {
        "service": service,
        "as_of": moment.astimezone(datetime.UTC).isoformat(timespec="seconds"),
        "pushes_waiting": len(waits),
        "predictions": asking.select(
            path, "SELECT count(DISTINCT id) AS found FROM predictions WHERE time <= $1", [moment]
        )[0]["found"],
        "labels": {},
    }
    labels: dict[str, dict[str, Any]] = found["labels"]
    for row in asking.select(path, _SAID, [moment], labelled=view):
        labels[row["name"]] = {"received": row["received"], "orphans": row["orphans"]}
    for row in asking.select(path, _KNOWN, [], labelled=view):
        name = row.pop("name")
        labels.setdefault(name, {"received": 0, "orphans": 0}).update(row)
    for name, rule in view.declared.items():
        labels.setdefault(name, {"received": 0, "orphans": 0})["declared"] = rule.to_json()
    events = {event for rule in view.declared.values() for event in rule.events} - set(view.declared)
    found["events"] = {name: labels.pop(name) for name in sorted(events & set(labels))}
    for name, each in labels.items():
        each.setdefault("labelled", 0)
        seconds = view.declared.get(name, rules.Rule()).within_seconds
        ripe = asking.select(path, _RIPE, [moment - datetime.timedelta(seconds=seconds), name], labelled=view)[0]
        each |= {"mature": ripe["mature"], "mature_labelled": ripe["labelled"]}
        labels[name] = each
    return found


_SAID = """
SELECT name, count(*) AS received, count(*) FILTER (
    (prediction_id IS NOT NULL AND prediction_id NOT IN (SELECT id FROM predictions))
    OR (key IS NOT NULL AND key_name IS NULL AND key NOT IN (SELECT key FROM predictions WHERE key IS NOT NULL))
    OR (key IS NOT NULL AND key_name IS NOT NULL AND (key_name, key) NOT IN (
        SELECT (entry.key, entry.value) FROM (SELECT unnest(map_entries(keys)) AS entry FROM predictions)
    ))
) AS orphans
FROM labels WHERE arrived <= $1 GROUP BY name"""
_KNOWN = """
SELECT l.name, count(*) AS labelled, count(*) FILTER (implied) AS implied, count(*) FILTER (disagree) AS disagreements,
    avg(l.value) AS mean, quantile_cont(epoch_us(l.arrived) - p.asked_us, 0.5) / 1e6 AS delay_seconds_p50,
    quantile_cont(epoch_us(l.arrived) - p.asked_us, 0.9) / 1e6 AS delay_seconds_p90
FROM labelled l JOIN (SELECT id, epoch_us(min(time)) AS asked_us FROM predictions GROUP BY id) p USING (id)
GROUP BY l.name"""
_RIPE = """
SELECT count(*) AS mature, count(l.id) AS labelled
FROM (SELECT id FROM predictions GROUP BY id HAVING min(time) <= $1) p
LEFT JOIN (SELECT id FROM labelled WHERE name = $2) l USING (id)"""


def known_service(home: homes.Home, service: str | None) -> str:
    """
    A service that records, or has recorded; the only one if none is named.

    Raises:
        ConfigError: there is none of this name.
    """
    known = sorted(
        set(log_place.root(home).services(delta.TABLE)) | {path.name for path in home.spool.glob("*") if path.is_dir()}
    )
    if service is None and len(known) == 1:
        return known[0]
    if service is None or service not in known:
        raise errors.ConfigError(
            f"No predictions of {service!r:.120} were recorded yet."
            if service
            else "Whose labels they are is not clear.",
            remedy=f"Choose one of {', '.join(known)} with --service."
            if known
            else "Send requests to a service first: labels are about its answers.",
            code=errors.Code.NO_LOG,
        )
    return service


def _taken(home: homes.Home, service: str, names: Sequence[str]) -> bool:
    """Adds what waits, or sees the shipper do it; False after a minute without."""
    inbox = local_inbox.LocalInbox(home.log)
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        refused = None
        try:
            with log_lock.alone(home):
                taker(home, every_seconds=0).turn(time.time(), drain=True)
        except errors.ConflictError:
            time.sleep(_PAUSE_SECONDS)
        except errors.UnavailableError as error:  # perhaps another service's table
            refused = error
        if not {each.name for each in inbox.waiting().get(service, [])} & set(names):
            return True
        if refused is not None:
            raise refused
    return False


@contextlib.contextmanager
def _there(file: pathlib.Path | None) -> Iterator[tuple[pathlib.Path, str]]:
    """The file and what to call it; what comes on standard input is kept aside while it is read."""
    if file is not None:
        yield file, file.name
        return
    with tempfile.NamedTemporaryFile(prefix="softlaunch-labels-") as aside:
        shutil.copyfileobj(sys.stdin.buffer, aside)
        aside.flush()
        yield pathlib.Path(aside.name), "-"


def _suffix(path: pathlib.Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
