"""
Writes docs/benchmarks.md from benchmarks/results/*.json, so that the page says what was measured and nothing else.

    python benchmarks/report.py
"""

from __future__ import annotations

import json
import pathlib
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import report_rivals

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

This page is written by `python benchmarks/report.py` from the results in benchmarks/results/; `make bench` makes them
anew, all but "Times a user waits", which were noted by hand. Two shared virtual cores, Linux, Python 3.11, Envoy 1.40.

How these numbers came about: the machine was busy during most runs. Of the bad launches only `hang` was measured
with today's shortest try of 250 ms, the other faults with 50 ms. The kill table joins two runs: in the first, one
case could not be recounted because its rollout ended before its load, and the control plane's cases were run again.
The run of equal launches followed two others: 36 launches without a rollback, the last of which never ended (mended
since), and some 90 with three rollbacks (two for errors, one for latency), stopped to lengthen the shortest try
from 50 to 250 ms. The bars of 10,000 simulated launches were run with the counts shown.

A request has *failed for the user* when its status is not the expected one, or it is a fallback answer, or its body
does not validate.
"""


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def section(title: str, prose: str, script: str, body: str = "") -> str:
    """A heading, a paragraph that ends with what measured it, and a table."""
    paragraph = textwrap.fill(f"{prose} `benchmarks/{script}`", 118)
    return f"## {title}\n\n{paragraph}\n" + (f"\n{body}\n" if body else "")


def measured(title: str, prose: str, found: dict[str, Any], body: str = "") -> str:
    """A section of a result file that says itself how it was made."""
    about = found["about"]
    how = (
        f"Measured {about['date'][:16].replace('T', ' ')} UTC at {about['commit']} on {about['machine']}; load "
        f"average of the five minutes before: {about['load_before']:.1f}."
    )
    parts = [f"## {title}", textwrap.fill(prose, 118), *([body] if body else []), textwrap.fill(how, 118)]
    return "\n\n".join(parts) + f"\n\n```console\n$ {about['command']}\n```\n"


def missed(held: bool) -> str:  # noqa: FBT001  # reads as a sentence where it is called
    """Marks a number that does not hold its bar."""
    return "" if held else " **missed**"


def _count(row: dict[str, Any], failed: str = "failed", asked: str = "asked") -> str:
    return f"{row[failed]:,} of {row[asked]:,}"


def bad_canary(found: dict[str, Any]) -> str:
    """Broken candidates that really serve."""
    sides = {(row["fault"], row["side"]): row for row in found["rows"]}
    faults = list(dict.fromkeys(row["fault"] for row in found["rows"]))
    on = [row for row in found["rows"] if row["side"] == "everything on"]

    def cells(fault: str) -> list[Any]:
        ours, by_hand = (sides.get((fault, side)) for side in ("softlaunch", "by hand"))
        return [
            fault,
            _count(ours) if ours else "-",
            f"{ours['candidate_first_failed']:,}" if ours else "-",
            f"{ours['requests_per_second']:,.0f}/s, {ours['p99_ms']:.0f} ms" if ours else "-",
            _count(by_hand) if by_hand else "-",
        ]

    told = table(
        (
            "fault",
            "failed for users (bar 0)",
            "first attempts that failed on the candidate",
            "rate, p99",
            "failed on a weighted route with retries",
        ),
        [cells(fault) for fault in faults],
    )
    return measured(
        "A broken candidate with half of the traffic",
        "The candidate fails every request it meets, and nobody takes it back: judge and fuse are switched off, so "
        "that only retries and hedging protect users. Beside it the same Envoy with a weighted route and three "
        "retries, which stay with the release the weights chose."
        + (
            " The second table: the same with everything on, that is control plane, judge and fuse; broken candidates "
            "are launched one after the other, 50 % in their first step."
            if on
            else ""
        ),
        found,
        told + (f"\n\n{_everything_on(on)}" if on else ""),
    )


def _everything_on(rows: list[dict[str, Any]]) -> str:
    return table(
        ("fault", "failed for users (bar 0)", "launches", "candidate attempts that failed", "p99"),
        [
            (
                row["fault"],
                _count(row),
                ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in row["outcomes"].items()),
                f"{row['candidate_first_failed']:,}",
                f"{row['p99_ms']:.0f} ms",
            )
            for row in rows
        ],
    )


def sticky(found: dict[str, Any]) -> str:
    """Users through a growing canary."""
    told = table(
        ("share", "users", "on the candidate", "standard errors off (bar 4)", "moved back (bar 0)", "failed"),
        [
            (
                f"{row['share']:.0%}",
                f"{row['users']:,}",
                f"{row['on_candidate']:,}",
                f"{row['standard_errors_off']:.1f}",
                row["moved_back"],
                row["failed"],
            )
            for row in found["rows"]
        ],
    )
    return measured("A growing canary", "Every user sends a request at every share.", found, told)


def unrepeatable(found: dict[str, Any]) -> str:
    """POSTs that must not be repeated."""
    told = table(
        (
            "candidate",
            "POSTs",
            "executed by stable",
            "executed by the candidate",
            "executed twice (bar 0)",
            "mirrored (bar 0)",
            "predictions mirrored afterwards",
        ),
        [
            (
                row["fault"],
                f"{row['requests']:,}",
                f"{row['executed_by_stable']:,}",
                f"{row['executed_by_candidate']:,}",
                row["executed_twice"],
                row["mirrored"],
                f"{row['predictions_mirrored']} of {row['predictions']}",
            )
            for row in found["rows"]
        ],
    )
    return measured(
        "Requests that must not be repeated",
        f"POSTs to {', '.join(f'`{path}`' for path in found['paths'])}, half of the users on a candidate that fails "
        "after it has read the request, with a shadow that gets a copy of every prediction stable answers.",
        found,
        told,
    )


def shadow_cost(found: dict[str, Any]) -> str:
    """What a broken shadow costs."""
    told = table(
        ("shadow", "pairs", "median ratio of p99", "upper 95 % bound (bar 1.05)", "p99 with / without", "failed"),
        [
            (
                {"none": "none in either run"}.get(row["shadow"], row["shadow"]),
                row["pairs"],
                f"{row['median_ratio']:.3f}",
                f"{row['upper_95']:.3f}{missed(row['upper_95'] <= 1.05 or row['shadow'] == 'none')}",
                f"{row['p99_ms_with']:.2f} / {row['p99_ms_without']:.2f} ms",
                _count(row, "user_failed", "user_requests"),
            )
            for row in found["rows"]
        ],
    )
    joined = found["joined"]
    pairs = joined["shadow"]
    return measured(
        "What users pay for a shadow",
        "Pairs of runs with and without a copy of every request to a broken shadow, in alternating slices of 0.4 s; "
        "the bound is the sign test's interval of the median. A healthy shadow of real model servers: "
        f"{pairs['joined_count']:,} of {pairs['pair_count']:,} pairs were joined (bar: all"
        f"{missed(pairs['joined_count'] == pairs['pair_count'])}), {pairs['lost_count']:,} "
        f"lost; {joined['user_failed']:,} of {joined['user_requests']:,} requests failed; the launch was "
        f"{joined['outcome'].replace('_', ' ')}.",
        found,
        told,
    )


def share_changes(found: dict[str, Any]) -> str:
    """Changes under load."""
    effective, applied = found["effective_ms"], found["apply_ms"]
    return measured(
        "Changes of a share",
        f"{found['changes']:,} changes under load: {_count(found, 'user_failed', 'user_requests')} requests failed "
        f"(bar 0). From the call to the first answer by the new share, after which none was by the old: p50 "
        f"{effective['p50']:.1f} ms, p99 {effective['p99']:.1f} ms (bar 50"
        f"{missed(effective['p99'] <= 50.0)}), at most {effective['max']:.1f} ms. The "
        f"call itself, which returns when Envoy has confirmed: p50 {applied['p50']:.1f} ms, p99 "
        f"{applied['p99']:.1f} ms.",
        found,
    )


def back_in_time(row: dict[str, Any]) -> bool:
    """Whether the slowest of these rollbacks held its bar."""
    loads: float = row["load_seconds"]
    slowest: float = row["from_command"]["max"]
    return slowest <= (10.0 + loads if loads else 1.0)


def way_back(found: dict[str, Any]) -> str:
    """Rollbacks by hand."""
    told = table(
        (
            "old release",
            "repetitions",
            "from typing the command: p50 / max",
            "from its first stored event: p50 / max",
            "failed",
        ),
        [
            (
                row["kind"] + (f" (loads for {row['load_seconds']:g} s)" if row["load_seconds"] else ""),
                row["repetitions"],
                f"{row['from_command']['p50']:.2f} / {row['from_command']['max']:.2f} s" + missed(back_in_time(row)),
                f"{row['from_request']['p50']:.2f} / {row['from_request']['max']:.2f} s",
                _count(row, "user_failed", "user_requests"),
            )
            for row in found["rows"]
        ],
    )
    return measured(
        "The way back",
        "`softlaunch rollback` of a release that is live, under load, until every answer is the old release's; the "
        "command's own start is Python's. Bars: 1 s warm; 10 s and its load time cold.",
        found,
        told,
    )


def both_dead(found: dict[str, Any]) -> str:
    """Nobody left."""
    told = table(
        ("fallback", "requests", "answered by it", "counted by the control plane", "anything else"),
        [
            (
                row["kind"],
                f"{row['requests']:,}",
                f"{row['marked'].get(row['kind'], 0):,}",
                f"{row['counted']:,}",
                ", ".join(f"{count} {name}" for name, count in row["seen"].items() if name != "fallback") or "-",
            )
            for row in found["rows"]
        ],
    )
    return measured(
        "Both releases dead",
        "kill -9 of every process of both releases in the middle of a launch; none comes back.",
        found,
        told,
    )


def equal_costly(found: dict[str, Any]) -> str:
    """A/A with warm-up and cache fill."""
    row = found["equal"]
    outcomes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in row["outcomes"].items())
    leaks = table(
        (
            "planted leak",
            "caught by",
            "seconds",
            "candidate requests",
            "leaked by then, computed",
            "the drill's cap",
            "failed",
        ),
        [
            (
                leak["number"] + 1,
                leak["card"]["caught_by"] or "nothing",
                f"{leak['card']['seconds_to_stable'] or 0.0:.0f}",
                f"{leak['candidate_attempts']:,}",
                f"{leak['kept_mib_at_most']:.0f} MiB",
                f"{leak['limit_mib']:.0f} MiB",
                _count(leak["card"]["users"], "failed", "sent"),
            )
            for leak in found["leaks"]
        ],
    )
    return measured(
        "Equal releases that warm up, and a leak",
        f"Every process burns CPU in its first {found['about']['parameters']['warm_up']} predictions and fills a "
        f"cache; guardrails on CPU and memory enforce. {row['launches']} launches of {row['asked']} asked for: "
        f"{outcomes}; "
        f"{row['false_rollbacks']} false rollbacks, {row['false_rollbacks'] / row['launches']:.1%} (bar 1 %"
        f"{missed(row['false_rollbacks'] / row['launches'] <= 0.01 and row['launches'] >= row['asked'])}), with "
        f"95 % confidence below {row['upper_95']:.1%}. Median {row['candidate_attempts_p50']:,.0f} candidate attempts "
        f"and {row['launch_seconds_p50']:.1f} s a launch. "
        f"{_count(row, 'user_failed', 'user_requests')} requests failed. What leaked is requests times bytes, not "
        "measured memory; nothing was killed by a limit."
        + "".join(f" Rolled back: {reason}." for reason in sorted(set(row["reasons"]))[:3]),
        found,
        leaks,
    )


def bad_launches(rows: list[dict[str, Any]]) -> str:
    """Launches of bad candidates."""
    told = table(
        (
            "fault",
            "launches",
            "first bad attempt to all traffic on stable: p50",
            "p99",
            "max",
            "candidate requests p50 / p95",
            "failed for users",
            "went otherwise",
        ),
        [
            (
                row["fault"],
                row["launches"],
                f"{row['seconds_p50']:.2f} s",
                f"{row['seconds_p99']:.2f} s",
                f"{row['seconds_max']:.2f} s",
                f"{row['candidate_requests_p50']:g} / {row['candidate_requests_p95']:g}",
                f"{row['user_failed']:,} of {row['user_requests']:,}",
                len(row["otherwise"]),
            )
            for row in rows
        ],
    )
    return section(
        "A bad candidate, taken back",
        "Real control plane, Envoy and model servers; 200 requests/s, 10 % on the candidate.",
        "launches/bad.py",
        told,
    )


def equal_launches(row: dict[str, Any]) -> str:
    """A/A launches."""
    outcomes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in row["outcomes"].items())
    return section(
        "Equal releases, launched in turn",
        "The same, with two releases of one behaviour: every rollback would be a false one. "
        f"{row['launches']} launches: {outcomes}. {row['user_failed']:,} of {row['user_requests']:,} requests failed "
        f"for users (p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms).",
        "launches/equal.py",
    )


def kill(rows: list[dict[str, Any]]) -> str:
    """kill -9 at each phase."""
    told = table(
        ("killed", "ended", "failed for users", "back after", "counted wrong or otherwise"),
        [
            (
                row["case"],
                row["outcome"].replace("_", " "),
                f"{row['user_failed']:,} of {row['user_requests']:,}",
                f"{seconds:.1f} s" if (seconds := row["restart_seconds"] or row["unserved_seconds"]) else "-",
                "; ".join(row["wrong"]) or "-",
            )
            for row in rows
        ],
    )
    return section(
        "kill -9",
        "Each process at each phase of a rollout under 200 requests/s; afterwards every attempt in the log is counted "
        "again and compared with what the control plane counted.",
        "launches/kill.py",
        told,
    )


def judge_aa(rows: dict[str, Any]) -> str:
    """Simulated A/A launches."""
    told = table(
        ("scenario", "launches", "false rollbacks", "rate", "through log lines"),
        [
            (
                name,
                f"{row['launches']:,}",
                row["false_rollbacks"],
                f"{row['rate']:.2%}",
                "yes" if row["through_log_lines"] else "no",
            )
            for name, row in rows.items()
        ],
    )
    return section(
        "False rollbacks",
        "Simulated launches of equal releases, judged by the production code after every attempt; the bar is 1 %.",
        "judge/aa.py",
        told,
    )


def judge_detection(rows: dict[str, Any]) -> str:
    """Detection in candidate requests."""
    told = table(
        ("fault", "launches", "candidate requests: median", "p95", "reference: median / p95", "never found"),
        [
            (
                name,
                f"{row['launches']:,}",
                f"{row['median']:,g}",
                f"{row['p95']:,g}",
                f"{row['reference_median']:,} / {row['reference_p95'] or '-'}",
                row["missed"],
            )
            for name, row in rows.items()
        ],
    )
    return section(
        "What a bad release costs",
        "At a share of 10 %, all four guardrails sharing alpha = 1 %; the reference is one guardrail that has all of "
        "it to itself.",
        "judge/detection.py",
        told,
    )


def judge_promotion(rows: dict[str, Any]) -> str:
    """Promotions that must and must not happen."""
    told = table(
        ("scenario", "launches", "found"),
        [
            (
                name,
                f"{row['launches']:,}",
                ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in row.items() if key != "launches"),
            )
            for name, row in rows.items()
        ],
    )
    return section("Promotion", "What must and what must not be promoted.", "judge/promotion.py", told)


def judge_cost(row: dict[str, Any]) -> str:
    """The judge's price."""
    return section(
        "The judge's price",
        f"{row['microseconds_per_attempt']} us of CPU an attempt (bar 5), {row['microseconds_per_report']} us a "
        "report.",
        "judge/cost.py",
    )


def serving(rows: dict[str, Any]) -> str:
    """The model server beside FastAPI."""
    ratios = sorted(row["ratio"] for row in rows["rounds"])
    return section(
        "The model server",
        "Single-row requests/s of one worker on an ONNX logistic regression, 64 connections, against FastAPI + uvicorn "
        f"+ onnxruntime in the same run: median ratio {ratios[len(ratios) // 2]:.1f} over {len(ratios)} rounds "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f}).",
        "serving/quick.py",
    )


def serving_rivals(found: dict[str, Any]) -> str:
    """The model server beside others."""
    return measured(report_rivals.TITLE, report_rivals.prose(found), found, report_rivals.body(found, table))


def serving_gateway(found: dict[str, Any]) -> str:
    """Through the gateway, against no gateway."""
    middle, bars, met = found["median"], found["bars"], found["met"]

    def verdict(name: str) -> str:
        return "met" if met[name] else "missed"

    prose = (
        "Single rows through the gateway, capture on, against plain FastAPI + uvicorn + onnxruntime without one: "
        f"{found['model']}, {found['connections']} connections, every process on every core, medians of "
        f"{len(found['rounds'])} alternating rounds. Added latency: medians through the gateway less straight to the "
        "model server's socket."
    )
    rows = [
        (
            "requests/s, gateway against FastAPI",
            f"{middle['gateway_per_second']:,.0f} against {middle['fastapi_per_second']:,.0f}: {middle['ratio']:.2f}",
            f">= {bars['ratio_min']:g}: {verdict('ratio')}",
        ),
        *(_added_latency(middle, bars, rate, verdict(f"added_p50_ms_at_{rate:.0f}")) for rate in found["light_rates"]),
    ]
    return measured("Through the gateway", prose, found, table(("what", "measured", "bar"), rows))


def _added_latency(middle: dict[str, float], bars: dict[str, float], rate: float, verdict: str) -> tuple[str, str, str]:
    front, direct, added = (middle[f"{name}_p50_ms_at_{rate:.0f}"] for name in ("gateway", "direct", "added"))
    return (
        f"p50 at {rate:.0f} requests/s, gateway and direct",
        f"{front:.2f} and {direct:.2f} ms: {added:+.2f} ms",
        f"<= {bars['added_p50_ms_max']:g} ms: {verdict}",
    )


def hot_path(found: dict[str, Any]) -> str:
    """A bare echo, the server, and the server that records."""
    bars, soak = found["bars"], found.get("soak")
    told = table(
        ("server", "requests/s", "CPU a request", "p50 / p99", f"at {found['rate']:,.0f}/s: p50 / p99"),
        [
            (
                {"echo": "granian echo", "plain": "model server", "capture": "model server, recording"}[row["server"]],
                f"{row['rate']:,.0f}",
                f"{row['cpu_us']:.1f} us",
                f"{row['p50_ms']:.2f} / {row['p99_ms']:.2f} ms",
                f"{row['light_p50_ms']:.2f} / {row['light_p99_ms']:.2f} ms",
            )
            for row in found["rows"]
        ],
    )

    def spread(name: str, form: str) -> str:
        least, median, most = (format(value, form) for value in bars[name])
        return f"{median} ({least} to {most})"

    prose = (
        "One process, an ONNX logistic regression, single rows, 64 connections; medians over rounds, in brackets the "
        f"least and the most. With recording, of the echo's rate: {spread('of_echo', '.0%')}, bar 50 %"
        f"{missed(bars['of_echo'][1] >= 0.5)}; by CPU "
        f"{spread('of_echo_cpu', '.0%')}. Of the rate without recording: {spread('capture_throughput', '.0%')}, bar "
        f"95 %{missed(bars['capture_throughput'][1] >= 0.95)}; CPU {spread('capture_cpu', '.2f')} times. p99 with "
        f"recording minus without, at the lower rate: "
        f"{spread('capture_p99_ms', '.2f')} ms, bar 0.2{missed(bars['capture_p99_ms'][2] <= 0.2)}: on this machine the "
        "spread hides what is looked for."
    )
    if soak:
        middle = soak["samples"][len(soak["samples"]) // 2]
        last = soak["samples"][-1]
        prose += (
            f" {last['requests']:,} requests through a spool of 64 MiB: {middle['mib']:.1f} MiB of memory after half, "
            f"{last['mib']:.1f} after all of them (recorded one by one, as before groups)."
        )
    return measured("The model server's own path", prose, found, told)


def install(row: dict[str, Any]) -> str:
    """Size and imports."""
    imports = table(
        ("import", "CPU seconds"), [(name, f"{value:.2f}") for name, value in row["import_seconds"].items()]
    )
    return section(
        "Installation",
        f"`pip install softlaunch` weighs {row['mebibytes']:.0f} MiB (bar 900) and took {row['install_seconds']:.0f} s "
        "with downloads cached.",
        "install.py",
        imports,
    )


def push(found: dict[str, Any]) -> str:
    """From git push to a live replica."""
    told = table(
        ("what", "launches", "push to a user's first answer: median", "longest", "bar", "to all users"),
        [
            (
                name,
                row["count"],
                f"{row['live_seconds']:.1f} s",
                f"{row['live_seconds_max']:.1f} s{missed(row['live_seconds_max'] <= row['bar'])}",
                f"{row['bar']:g} s",
                f"{row['promoted_seconds']:.0f} s",
            )
            for name, row in found["groups"].items()
        ],
    )
    tests = [row["steps"]["tests"] for row in found["rows"] if "steps" in row and row["what"] == "code only"]
    prose = (
        "The flights service with requirements.lock, a model that softlaunch.lock pins, tests with coverage and "
        "quality gates; softlaunch is installed by pip into an environment of its own, packages are in uv's cache. "
        "Until a user's request through the gateway is answered by the new release; by `follow` the control plane asks "
        f"git once a second. Of a change of code the service's own tests take {sorted(tests)[len(tests) // 2]:.1f} s "
        "(median)."
    )
    return measured("From git push to a live replica", prose, found, told)


def log_shipping(found: dict[str, Any]) -> str:
    """From the spool to the prediction log."""
    rate, bar = found["records_per_core_second"], found["bar"]
    told = table(
        ("records", "records a CPU second", "bar", "CPU, wall", "bytes a row", "memory at most"),
        [
            (
                f"{found['records']:,}",
                f"{rate:,.0f}{missed(rate >= bar)}",
                f"{bar:,}",
                f"{found['cpu_seconds']:.1f} s, {found['wall_seconds']:.1f} s",
                f"{found['bytes_per_row']:.0f}",
                f"{found['peak_mib']} MiB",
            )
        ],
    )
    prose = (
        f"Segments that the model server's own writer wrote, records of one row, {found['features']} features, moved "
        f"into a Delta table; {found['joined']:,} of them joined with the gateway's log. Processor time is the whole "
        "process's, with the threads that compress."
    )
    return measured("From the spool to the prediction log", prose, found, told)


def why_lookup(found: dict[str, Any]) -> str:
    """One prediction by its id."""
    bar = found["bar_seconds"]
    told = table(
        ("rows", "look-ups", "median", "longest", "bar", "bytes a row"),
        [
            (
                f"{found['rows']:,}",
                found["lookups"],
                f"{found['seconds_median']:.2f} s",
                f"{found['seconds_max']:.2f} s{missed(found['seconds_max'] <= bar)}",
                f"{bar:g} s",
                f"{found['bytes_per_row']:.0f}",
            )
        ],
    )
    prose = (
        f"A synthetic log of ten days, sorted by id, and {found['labels']:,} labels, on the local disk, the files in "
        "the operating system's cache; each look-up opens the tables anew, as `softlaunch why` does. Starting the "
        "command and telling the release's origin are not in it."
    )
    return measured("One prediction among all of them", prose, found, told)


def label_join(found: dict[str, Any]) -> str:
    """Predictions and their labels."""
    bar = found["bar_seconds"]
    told = table(
        ("predictions", "labels", "labelled", "median", "longest", "bar"),
        [
            (
                f"{found['predictions']:,}",
                f"{found['labels']:,}",
                f"{found['labelled']:,}",
                f"{found['seconds_median']:.2f} s{missed(found['seconds_median'] <= bar)}",
                f"{found['seconds_max']:.2f} s",
                f"{bar:g} s",
            )
        ],
    )
    prose = (
        "Two Delta tables of a week, random ids, many labels corrected. As known now: for each prediction the highest "
        "version of what was said of it, joined and averaged; each run opens the tables anew."
    )
    return measured("Predictions and what turned out to be true", prose, found, told)


def log_kills(found: dict[str, Any]) -> str:
    """What kill -9 loses of the prediction log."""
    told = table(
        ("killed", "answers", "records in the log", "twice", "lost", "never recorded", "of these counted"),
        [
            (
                ", ".join(f"{count} {name}s" for name, count in found["kills"].items()),
                f"{found['answered_by_a_model_server']:,}",
                f"{found['records']:,}",
                found["rows_twice"],
                found["records_lost"],
                found["answers_without_a_record"],
                f"{found['unacknowledged']}{missed(not found['wrong'])}",
            )
        ],
    )
    prose = (
        "kill -9 at random moments under live traffic. A killed model server takes up to 50 ms of answers with it that "
        "it had not written; each is found against the gateway's log, and counted."
    )
    return measured("The prediction log under kill -9", prose, found, told)


def log_outage(found: dict[str, Any]) -> str:
    """A log that cannot be written for ten minutes."""
    told = table(
        ("requests", "failed", "p50 before, meanwhile", "p99 before, meanwhile", "all had arrived after"),
        [
            (
                f"{found['requests']:,}",
                f"{found['failed']}{missed(not found['wrong'])}",
                f"{found['before_ms_p50']:.1f} ms, {found['during_ms_p50']:.1f} ms",
                f"{found['before_ms_p99']:.1f} ms, {found['during_ms_p99']:.1f} ms",
                f"{found['arrived_seconds']:.0f} s",
            )
        ],
    )
    prose = "The disk that the log is on is full for ten minutes, under live traffic; then there is room again."
    return measured("A disk that is full for ten minutes", prose, found, told)


def demo(row: dict[str, Any]) -> str:
    """make demo and softlaunch up."""
    told = table(("what", "seconds"), [(name, f"{value:.1f}") for name, value in row.items()])
    return f"## Times a user waits\n\n{told}\n"


SECTIONS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("bad_launches", bad_launches),
    ("equal_launches", equal_launches),
    ("kill", kill),
    ("bad_canary", bad_canary),
    ("sticky", sticky),
    ("unrepeatable", unrepeatable),
    ("shadow_cost", shadow_cost),
    ("share_changes", share_changes),
    ("way_back", way_back),
    ("both_dead", both_dead),
    ("equal_costly", equal_costly),
    ("judge_aa", judge_aa),
    ("judge_detection", judge_detection),
    ("judge_promotion", judge_promotion),
    ("judge_cost", judge_cost),
    ("serving_quick", serving),
    ("serving_hot_path", hot_path),
    ("serving_gateway", serving_gateway),
    ("serving_rivals", serving_rivals),
    ("push", push),
    ("log_shipping", log_shipping),
    ("why_lookup", why_lookup),
    ("label_join", label_join),
    ("log_kills", log_kills),
    ("log_outage", log_outage),
    ("waits", demo),
    ("install", install),
)


def main() -> None:
    parts = [HEAD]
    for name, write in SECTIONS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            parts.append(write(json.loads(path.read_text(encoding="utf-8"))))
        else:
            print(f"{path.name} is missing: its section is left out")
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
