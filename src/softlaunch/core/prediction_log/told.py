"""One prediction, told in words: what was asked and answered, by whom, and why that release was there to answer."""

from __future__ import annotations

import datetime
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from softlaunch.core import release

_VALUE_MAX = 200
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top }}
th {{ font-weight: 600; width: 12rem }} td {{ font-variant-numeric: tabular-nums; overflow-wrap: anywhere }}
pre {{ background: #f5f5f5; padding: 1rem; white-space: pre-wrap; overflow-wrap: anywhere }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def sections(document: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """
    Titles, each with names and values.

    Args:
        document: `id`, `service`, `answers` (rows of the log, the one that the user got first), `moments` (what was
            live in each answer's place when it was given, None where nobody knows), `labels` (what is known of it:
            rows of the view `labelled`).
    """
    answers: Sequence[Mapping[str, Any]] = document["answers"]
    for place, (row, moment) in enumerate(zip(answers, document["moments"], strict=True)):
        yield (_title(row, place), [*_answer(row), *_moment(row, moment)])
    if document["labels"]:
        yield ("What turned out to be true", [pair for label in document["labels"] for pair in _label(label)])


def lines(document: Mapping[str, Any], lineage: Sequence[str]) -> list[str]:
    """For a terminal; nothing in them moves its cursor."""
    found = [_printable(f"{document['id']} of {document['service']}")]
    for title, pairs in sections(document):
        found += ["", title]
        width = max(len(name) for name, _ in pairs)
        found += [_printable(f"  {name:<{width}}  {value}") for name, value in pairs]
    return [*found, "", *map(_printable, lineage), *(_printable(f"! {note}") for note in document["notes"])]


def page(document: Mapping[str, Any], lineage: Sequence[str]) -> str:
    """As one HTML page that needs nothing else."""
    parts = []
    for title, pairs in sections(document):
        rows = "\n".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in pairs)
        parts.append(f"<h2>{html.escape(title)}</h2>\n<table>\n{rows}\n</table>")
    if lineage:
        text = html.escape("\n".join(lineage))
        parts.append(f"<h2>Where the release came from</h2>\n<pre>{text}</pre>")
    parts += [f"<p>{html.escape(note)}</p>" for note in document["notes"]]
    title = html.escape(f"{document['id']} of {document['service']}")
    return _PAGE.format(title=title, body="\n".join(parts))


def _title(row: Mapping[str, Any], place: int) -> str:
    if row["served"]:
        return "The answer that the user got"
    if row["served"] is None:
        return "An answer; whether the user got it is not known" if not place else "Another answer"
    return "A shadow's answer, which no user got" if row["arm"] == "shadow" else "An answer that no user got"


def _answer(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "answered", _time(row["time"])
    arm = {"stable": ", stable", "candidate": ", the candidate of a rollout", "shadow": ", a shadow"}.get(
        row["arm"], ""
    )
    yield "release", f"{row['release']}{arm}, in {row['environment']}"
    words = [f"attempt {row['attempt']}" if row["attempt"] is not None else ""]
    words += [f"status {row['status']}" if row["status"] is not None else "its status is not known"]
    words += [mark for mark in ("invalid", "shed", "redacted") if row[mark]]
    yield "result", ", ".join(filter(None, words))
    parts = [f"{row['service_us'] / 1000:.1f} ms in the model server" if row["service_us"] is not None else ""]
    parts += [f"{row['latency_us'] / 1000:.1f} ms as the gateway saw it" if row["latency_us"] is not None else ""]
    yield "took", ", ".join(filter(None, parts)) or "not known"
    if row["key"] is not None:
        yield "key", str(row["key"])
    for name, value in (row["keys"] or {}).items():
        yield f"key {name}", str(value)
    for name in ("features", "answer"):
        for column, value in (row.get(name) or {}).items():
            yield ("asked: " if name == "features" else "answer: ") + column, _value(value)
    for name, word in (("request_body", "request"), ("answer_body", "answer")):
        if row[name] is not None:
            yield word, _value(row[name])
    if row["unread"]:
        yield "not read", _UNREAD.get(row["unread"], row["unread"])


_UNREAD = {
    "cut": "the bodies were not recorded: too large, or not to be redacted",
    "request": "the request is none that the release's signature knows",
    "answer": "the answer could not be read",
    "release": "the release is not in the registry any more, so nobody knows its signature",
    "value": "a value fits no table and is null",
}


def _label(label: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    truth = label["text"] if label["value"] is None else f"{label['value']:g}"
    words = [
        "not one answer" if truth is None else str(truth),
        f"known since {_time(label['arrived'])}",
        "by a window that passed" if label["implied"] else "",
        f"{label['raters']} raters, who disagree" if label["disagree"] else "",
    ]
    yield str(label["name"]), ", ".join(filter(None, words))
    votes = label["votes"] or ()
    if len(votes) > 1:
        for vote in votes:
            said = vote["text"] if vote["value"] is None else f"{vote['value']:g}"
            yield f"{label['name']}, by {vote['rater'] or 'nobody named'}", f"{said}, {_time(vote['arrived'])}"


def _moment(row: Mapping[str, Any], moment: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if moment is None:
        return
    shares = ", ".join(f"{release.short(name)} {share:g} %" for name, share in moment["serves"].items())
    yield "who answered", shares or "nothing"
    for word, launch in (
        ("launched", (moment["live"] or {}).get("launch")),
        ("being launched", moment["entering"]),
    ):
        if launch is not None and launch["arm"] == row["release"]:
            yield word, _launch(launch)


def _launch(launch: Mapping[str, Any]) -> str:
    words = [f"rollout {launch['rollout']}", f"of commit {launch['commit'][:12]}" if launch["commit"] else ""]
    words += [f"asked for by {launch['requested_by']}" if launch["requested_by"] else ""]
    words += [f"approved by {', '.join(launch['approved_by'])}" if launch["approved_by"] else ""]
    words += [launch["outcome"] or "", launch["why"]]
    return ", ".join(filter(None, words))


def _time(moment: Any) -> str:
    if isinstance(moment, datetime.datetime):
        return moment.astimezone(datetime.UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")
    return str(moment)


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}... ({len(text):,} characters)"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
