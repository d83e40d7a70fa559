"""
The report of a rollout: one HTML page that needs nothing else, for a phone, a mail and the paper of an audit.

Built from the same documents as `explain`. Every text of theirs is escaped here, and nothing is loaded from anywhere:
the page says so itself, by a content security policy.
"""

from __future__ import annotations

import datetime
import html
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.controller import explain, report_chart
from softlaunch.core.rollout import judge_report

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_OUTCOMES = {
    "promoted": ("Promoted", "good"),
    "rolled_back": ("Rolled back", "worse"),
    "aborted": ("Aborted", "held"),
}
_TONES = {"rolling_back": "worse", "held": "held", "approval_asked": "held", "promoted": "good", "approved": "good"}
_PEOPLE = frozenset({"started", "approved", "paused", "resumed"})
_VERDICTS = {"pass": "good", "fail": "worse", "inconclusive": "held"}


def page(
    rollout: Mapping[str, Any],
    *,
    events: Sequence[Mapping[str, Any]],
    curve: Mapping[str, Any] | None = None,
    pin: Mapping[str, Any] | None = None,
    generated_at: float,
) -> str:
    """
    The page.

    Args:
        rollout: View of the rollout (controller.views.rollout).
        events: Its history records, oldest first.
        curve: Its evidence over time (controller.views.curve); None: the page has no curves.
        pin: The pin of its candidate, as explain.lines wants it.
        generated_at: Unix seconds; stands in the footer.
    """
    title, tone = _title(rollout)
    sections = [
        _head(rollout, title, tone, explain.lines(rollout, events=events, pin=pin)),
        _timeline(rollout, events),
        _curves(curve),
        _guardrails(rollout),
        _checks(rollout),
        _shadow(rollout),
        _people(rollout, events),
        _footer(rollout, generated_at),
    ]
    style = importlib.resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    named = f"Rollout {rollout['id']}: {title}, {rollout['service']} in {rollout['environment']}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{_text(named)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _title(rollout: Mapping[str, Any]) -> tuple[str, str]:
    outcome = rollout["outcome"]
    if outcome is None:
        held = bool(rollout["hold"] or rollout["paused"])
        return ("Running, held" if held else "Running"), ("held" if held else "good")
    return _OUTCOMES.get(outcome, (outcome.replace("_", " ").capitalize(), "held"))


def _head(rollout: Mapping[str, Any], title: str, tone: str, lines: list[str]) -> str:
    report = rollout["evidence"]
    odds = ""
    if report:
        reached, needed = judge_report.odds(report["log_e"]), judge_report.odds(report["log_threshold"])
        said = "Nothing says that it is worse" if reached == "none" else f"Odds that it is worse: {reached}"
        odds = f'<p class="quiet">{_text(said)}; {_text(needed)} takes it back.</p>'
    drill = "Drill, " if rollout.get("drill") else ""
    said = "".join(f"<p>{_text(line)}</p>" for line in lines)
    return (
        f'<header>\n<p class="kicker">{drill}rollout {rollout["id"]}: {_text(rollout["service"])} in '
        f"{_text(rollout['environment'])}, release <code>{_text(rollout['candidate_arm'])}</code> "
        f"({_text(rollout['ref'])})</p>\n"
        f'<h1 class="{tone}">{_text(title)}</h1>\n<p class="why">{_text(rollout["reason"])}</p>\n{odds}\n'
        f'<div class="said">{said}</div>\n</header>'
    )


def _timeline(rollout: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    if not events:
        return ""
    began = rollout["created_at"]
    items = "\n".join(
        f"<li>{_time(event['at'])}"
        f'<span class="kind {_TONES.get(event["kind"], "")}">{_text(event["kind"].replace("_", " "))}'
        f' <span class="quiet">{_after(event["at"] - began)}</span></span>'
        f"<span>{_text(event['text'])}</span></li>"
        for event in events
    )
    return f'<section>\n<h2>What happened</h2>\n<ol class="timeline">\n{items}\n</ol>\n</section>'


def _curves(curve: Mapping[str, Any] | None) -> str:
    if not curve or len(curve["at"]) < 2:
        return ""
    figures = []
    for name, entry in curve["guardrails"].items():
        if not any(entry["candidate_trials"]):
            continue
        observing = "" if entry["enforcing"] else ", observing"
        caption = f"<figcaption><strong>{_text(name)}</strong>{observing}</figcaption>"
        figures.append(f"<figure>{caption}\n{report_chart.svg(name, entry, curve['share'])}</figure>")
    if not figures:
        return ""
    return (
        "<section>\n<h2>How the evidence grew</h2>\n"
        '<p class="quiet">To the right: first attempts on the candidate; upwards: odds; both in powers of ten. '
        '<span class="worse">Solid: that it is worse.</span> <span class="good">Dashed: that it is good enough.</span> '
        "A line that reaches the dotted one of its colour has decided. Upright lines: the candidate's share changed."
        "</p>\n"
        f'<div class="curves">\n{"".join(figures)}\n</div>\n</section>'
    )


def _guardrails(rollout: Mapping[str, Any]) -> str:
    report = rollout["evidence"]
    if not report:
        return ""
    rows = []
    for name, entry in report["guardrails"].items():
        if not explain.had_part(entry):
            continue
        cells = (
            ("does", "enforcing" if entry["enforcing"] else "observing", ""),
            ("candidate", f"{entry['candidate_events']:,} / {entry['candidate_trials']:,}", "number"),
            ("stable", f"{entry['stable_events']:,} / {entry['stable_trials']:,}", "number"),
            (
                "worse",
                f"{judge_report.odds(entry['log_e'])} of {judge_report.odds(entry['log_threshold'])}",
                "number",
            ),
            ("verdict", entry["verdict"], _VERDICTS.get(entry["verdict"], "")),
            ("why", entry["reason"], ""),
        )
        rows.append(_row(name, cells))
    heading = ("guardrail", "does", "candidate", "stable", "worse", "verdict", "why")
    return _table("Guardrails", heading, rows, "Bad attempts of all, on each side; odds reached of odds needed.")


def _checks(rollout: Mapping[str, Any]) -> str:
    rows = [
        _row(
            check["name"],
            (
                ("does", "enforcing" if check["enforcing"] else "observing", ""),
                ("verdict", check["verdict"], {"passing": "good", "broken": "worse"}.get(check["verdict"], "held")),
                ("why", check["reason"], ""),
            ),
        )
        for check in (rollout["evidence"] or {}).get("checks") or ()
    ]
    return _table("The team's own checks", ("check", "does", "verdict", "why"), rows, "") if rows else ""


def _shadow(rollout: Mapping[str, Any]) -> str:
    found = rollout["measured"].get("shadow")
    if not found or not found["pair_count"]:
        return ""
    differing = found["compared_count"] - found["agreed_count"]
    said = (
        f"{found['pair_count']:,} requests were sent to both releases; users saw stable's answers. Of "
        f"{found['compared_count']:,} pairs of good answers, {differing:,} differ"
        + (f" ({100 * differing / found['compared_count']:.3g} %)." if found["compared_count"] else ".")
        + (f" {found['lost_count']:,} pairs were lost with their records." if found["lost_count"] else "")
    )
    rows = [
        *(_row(f"answers: {name}", _sides(*(f"{count:,}" for count in counts))) for name, counts in _outcomes(found)),
        *(_row(f"latency {name}", _sides(*map(_ms, pair))) for name, pair in found["latency_us"].items()),
        _row("CPU, mean", _sides(*map(_ms, found["cpu_us_mean"]))),
        *(
            _row(f"answer {bin_['name']}", _sides(*(f"{count:,}" for count in bin_["counts"])))
            for bin_ in found["outputs"]
        ),
    ]
    table = _table("The same requests, both answers", ("what", "stable", "candidate"), rows, said)
    if not found["examples"]:
        return table
    items = "".join(f"<li><code>{_text(example)}</code></li>" for example in found["examples"])
    return f"{table}\n<section>\n<h2>The first that differ</h2>\n<ul>{items}</ul>\n</section>"


def _outcomes(found: Mapping[str, Any]) -> list[tuple[str, Sequence[int]]]:
    return [(name.replace("_", " "), counts) for name, counts in found["outcomes"].items() if any(counts)]


def _sides(stable: str, candidate: str) -> tuple[tuple[str, str, str], ...]:
    return (("stable", stable, "number"), ("candidate", candidate, "number"))


def _ms(us: float | None) -> str:
    return "-" if us is None else f"{us / 1_000:.3g} ms"


def _people(rollout: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    rows = [_row(_moment(rollout["created_at"]), (("did", f"Asked for by {rollout['requested_by']}.", ""),))]
    rows += [
        _row(_moment(event["at"]), (("did", event["text"], ""),))
        for event in events
        if event["kind"] in _PEOPLE - {"started"} or _by_somebody(event)
    ]
    return _table("Who did what", ("when", "what"), rows, "")


def _by_somebody(event: Mapping[str, Any]) -> bool:
    """Whether a person took this decision: the machine's own sentences about those all read so."""
    text = event["text"]
    return text.startswith(("Aborted by ", "Makes way for ")) or "decided so, not the evidence" in text


def _footer(rollout: Mapping[str, Any], generated_at: float) -> str:
    return (
        f"<footer><p>Written {_text(_moment(generated_at))}. Times are UTC. The judge's numbers can be recomputed "
        f"from the archived attempts: <code>softlaunch rejudge {rollout['id']}</code>.</p></footer>"
    )


def _table(heading: str, columns: tuple[str, ...], rows: list[str], said: str) -> str:
    numbers = ("candidate", "stable", "worse")
    head = "".join(
        f'<th scope="col"{" class=number" if name in numbers else ""}>{_text(name)}</th>' for name in columns
    )
    note = f'<p class="quiet">{_text(said)}</p>\n' if said else ""
    return (
        f'<section>\n<h2>{_text(heading)}</h2>\n{note}<div class="scroll"><table class="wide">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table></div>\n</section>"
    )


def _row(name: str, cells: Sequence[tuple[str, str, str]]) -> str:
    rest = "".join(
        f'<td data-label="{_text(label)}" class="{tone}">{_text(value)}</td>' for label, value, tone in cells
    )
    return f'<tr><th scope="row">{_text(name)}</th>{rest}</tr>'


def _text(value: object) -> str:
    return html.escape(str(value))


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _time(seconds: float) -> str:
    shown = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return f'<time datetime="{shown.isoformat()}">{shown.strftime("%b %d, %H:%M:%S")}</time>'


def _after(seconds: float) -> str:
    if seconds < 100:
        return f"+{seconds:.1f} s"
    if seconds < 6_000:
        return f"+{seconds / 60:.0f} min"
    return f"+{seconds / 3_600:.1f} h"
