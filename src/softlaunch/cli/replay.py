"""`softlaunch replay` and `softlaunch compare`: two releases' answers to the same requests."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import pathlib
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import rich.live
import rich.text
import typer

from softlaunch import errors
from softlaunch.cli import client, comparison, live, options, output, places
from softlaunch.config import home as homes
from softlaunch.core import spec, spec_json, units

_RATE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?x?", re.ASCII)
_WORDS = {"pass": "[bold green]passed[/]", "fail": "[bold red]failed[/]", "inconclusive": "[bold yellow]undecided[/]"}
_EXITS = {"pass": 0, "fail": options.EXIT_DIFFERENT, "inconclusive": options.EXIT_UNDECIDED}
_Labels = Annotated[
    pathlib.Path | None,
    typer.Option(help="The truth: CSV or JSON lines with prediction_id and label.", dir_okay=False, metavar="FILE"),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    service: str
    spec: spec.EnvironmentSpec
    stable: str | None
    """As records name it; None: nobody says, the recordings will."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Span:
    since: float
    until: float
    words: str


def replay(
    service: Annotated[str | None, typer.Argument(help="Service; from what runs or ./softlaunch.yaml.")] = None,
    *,
    candidate: Annotated[str, typer.Option(help="Digest, commit, tag or branch of a release that was built.")],
    since: Annotated[str, typer.Option(help="From when: 2h ago, or a time such as 2026-01-31T08:00.")] = "2h",
    until: Annotated[str, typer.Option(help="To when, likewise; 0 is now.")] = "0",
    rate: Annotated[str, typer.Option(help="Times the speed at which the requests came.")] = "5x",
    stable: Annotated[
        str | None, typer.Option(help="Whose recorded answers count; the release that is live if left out.")
    ] = None,
    labels: _Labels = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Send everything, also when it has failed already; with labels always.")
    ] = False,
    leashed: Annotated[
        bool, typer.Option("--leashed", help="End when standard input does: for programs that start it.")
    ] = False,
    environment: options.Environment = None,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Send recorded production requests to a candidate that no user can reach, and judge its answers.

    The candidate runs in processes of its own on this machine; the answers that stable gave then are the comparison, by
    the environment's own guardrails. Latency, CPU time and memory are reported and decide nothing. Without a control
    plane, softlaunch.yaml says by which rules, and the recordings who was stable.

    Exits 0 when the candidate passed, 1 when it failed, 5 when the recordings were too few to say.

    Examples:

        softlaunch replay flights --candidate main --since 2h --rate 5x
        softlaunch replay --candidate 3f2a91c --since 24h --until 1h --env production --json
        softlaunch replay --candidate v2 --labels truth.csv
    """
    from softlaunch.config import settings  # noqa: PLC0415 - likewise
    from softlaunch.controller import replay as replaying  # noqa: PLC0415 - likewise
    from softlaunch.wiring import recordings  # noqa: PLC0415 - a second of imports that `--help` does not need

    speed = _speed(rate)
    span = _span(since, until)
    truth = comparison.read_labels(labels) if labels is not None else None
    found_home = homes.Home.locate(home)
    place = _place(found_home, directory, service, environment)
    chosen = recordings.find_release(found_home, candidate, service=place.service, directory=directory)
    if stable is not None:
        old = recordings.find_release(found_home, stable, service=place.service, directory=directory).short
    elif place.stable is not None:
        old = place.stable
    else:
        old = _most_recorded(found_home, place, span)
    plan = replaying.Plan(
        service=place.service,
        environment=place.spec.name,
        stable=old,
        candidate=chosen.short,
        strategy=place.spec.strategy,
        rate=speed,
        whole=whole or truth is not None,
        request_timeout_seconds=place.spec.request_timeout_seconds,
    )
    answers: list[tuple[str, bytes, bytes]] = []
    wanted = _requests(truth)

    def see(pair: Any) -> None:
        if pair.agrees is not None and pair.request_id in wanted:
            answers.append((pair.request_id, pair.stable_answer, pair.candidate_answer))

    output.log_to_stderr()
    with _ends_tidily(leashed=leashed), _progress(plan, quiet=as_json) as progress:
        report = recordings.replay(
            found_home,
            settings.read(os.environ),
            plan,
            candidate=chosen,
            environment=place.spec,
            since=span.since,
            until=span.until,
            progress=progress,
            see=see,
        )
    document = {**_document(report, plan, span), "labels": _judged(truth, answers)}
    output.document(document) if as_json else _tell(document, span)
    code = _EXITS[document["verdict"]]
    if code:
        raise typer.Exit(code)


def compare(
    number: Annotated[int, typer.Argument(help="Rollout, running or ended.", metavar="NUMBER")],
    *,
    labels: _Labels = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    What a rollout's shadow saw: agreement, answers of both releases, latency, errors, and who was right.

    Labels are looked up in the recordings of this machine, by REQUEST-ID or REQUEST-ID:ROW.

    Examples:

        softlaunch compare 7
        softlaunch compare 7 --labels truth.csv --json
    """
    truth = comparison.read_labels(labels) if labels is not None else None
    found_home = homes.Home.locate(home)
    view = client.Client(found_home).get(f"/v1/rollouts/{number}")
    pairs = view["measured"].get("shadow")
    if not pairs or not pairs["pair_count"]:
        raise errors.ConfigError(
            f"Rollout {number} has compared no answers: no copies of requests were sent to its candidate.",
            remedy="Launch with a step such as {shadow: 10%}, or replay what was recorded with `softlaunch replay`.",
            code=errors.Code.NO_SHADOW,
        )
    stable, candidate = view["stable_arm"], view["candidate_arm"]
    judged = None
    if truth is not None:
        from softlaunch.controller import replay as replaying  # noqa: PLC0415 - likewise
        from softlaunch.wiring import recordings  # noqa: PLC0415 - adapters take a second to import, and few commands need them

        until = view["finished_at"] or time.time()
        records = recordings.spool(found_home).scan(
            view["service"], view["environment"], since=view["created_at"], until=until
        )
        wanted = _requests(truth)
        found = replaying.pairs(records, stable=stable, candidate=candidate, request_ids=wanted)
        judged = _judged(truth, list(found))
    if as_json:
        names = ("service", "environment", "stable", "candidate", "outcome")
        about = {"rollout_id": number, **{name: view[name] for name in names}}
        output.document({**about, "pairs": pairs, "labels": judged})
        return
    output.plain(f"Rollout {number}, {view['service']} in {view['environment']}: {candidate} beside {stable}")
    comparison.print_lines(comparison.lines(pairs, outputs=True))
    if judged is not None:
        comparison.print_lines(comparison.label_lines(judged))


def _requests(truth: dict[str, Any] | None) -> frozenset[str]:
    from softlaunch.core.shadow import label_file  # noqa: PLC0415 - scipy takes half a second to import

    return label_file.requests(truth) if truth is not None else frozenset()


def _judged(truth: dict[str, Any] | None, answers: list[tuple[str, bytes, bytes]]) -> dict[str, Any] | None:
    from softlaunch.core.shadow import label_file  # noqa: PLC0415 - as above

    return label_file.judge(truth, answers).document() if truth is not None else None


def _document(report: Any, plan: Any, span: _Span) -> dict[str, Any]:
    from softlaunch.controller import rejudge  # noqa: PLC0415 - as above

    return {
        "service": plan.service,
        "environment": plan.environment,
        "stable": plan.stable,
        "candidate": plan.candidate,
        "verdict": report.verdict.value,
        "reason": report.reason,
        "since": span.since,
        "until": span.until,
        "rate": plan.rate,
        "sent_count": report.sent_count,
        "skipped_count": report.skipped_count,
        "redacted_count": report.redacted_count,
        "recorded_seconds": report.recorded_seconds,
        "seconds": report.seconds,
        "late_seconds_max": report.late_seconds_max,
        "pairs": comparison.plain(report.pairs.to_json()),
        "guardrails": rejudge.report_document(report.judged)["guardrails"],
    }


def _tell(document: dict[str, Any], span: _Span) -> None:
    output.plain(
        f"{document['service']} in {document['environment']}: {document['candidate']} against what "
        f"{document['stable']} answered"
    )
    skipped = f"; {document['skipped_count']:,} other records left out" if document["skipped_count"] else ""
    if document["redacted_count"]:
        skipped += f"; {document['redacted_count']:,} not sent, as `capture.redact` changed them"
    output.plain(
        f"  sent       {document['sent_count']:,} requests of {span.words}, {document['rate']:g} times as fast, in "
        f"{document['seconds']:.1f} s{skipped}"
    )
    note = " (then and now: it decides nothing)"
    comparison.print_lines(comparison.lines(document["pairs"], outputs=False, latency_note=note))
    if document["late_seconds_max"] > 1.0:
        output.plain(
            f"  late       sending fell behind by up to {document['late_seconds_max']:.1f} s: use a lower --rate"
        )
    if document["labels"] is not None:
        comparison.print_lines(comparison.label_lines(document["labels"]))
    output.text(f"{_WORDS[document['verdict']]}: {rich.markup.escape(document['reason'])}")


def _place(home: homes.Home, directory: pathlib.Path, service: str | None, environment: str | None) -> _Place:
    """What the control plane says; where none runs, what softlaunch.yaml does."""
    from softlaunch.config import service_file  # noqa: PLC0415 - reading YAML is a fifth of a second of imports

    try:
        control = client.Client(home)
        name, where = places.pick(control, service=service, environment=environment, running=False)
        found = control.get(f"/v1/services/{name}/{where}")
    except errors.UnavailableError as error:
        path = directory / service_file.FILE_NAME
        if error.code is not errors.Code.NOT_RUNNING or not path.is_file():
            raise
        return _place_of_file(service_file.load(path), service, environment)
    return _Place(service=name, spec=spec_json.load_environment(found["spec"].encode()), stable=found["stable_arm"])


def _most_recorded(home: homes.Home, place: _Place, span: _Span) -> str:
    from softlaunch.controller import replay as replaying  # noqa: PLC0415 - as above
    from softlaunch.wiring import recordings  # noqa: PLC0415 - as above

    records = recordings.spool(home).scan(place.service, place.spec.name, since=span.since, until=span.until)
    found = replaying.most_recorded(records)
    if found is None:
        raise errors.ConfigError(
            f"No request to {place.service} in {place.spec.name} was recorded in that time.",
            remedy="Go back further with --since, or send traffic while `capture` is on.",
            code=errors.Code.NO_RECORDING,
        )
    return found


def _place_of_file(found: spec.ServiceSpec, service: str | None, environment: str | None) -> _Place:
    names = ", ".join(each.name for each in found.environments)
    chosen = found.environment(environment) if environment else None
    if environment is None and len(found.environments) == 1:
        chosen = found.environments[0]
    if chosen is None or service not in (None, found.service):
        raise errors.ConfigError(
            f"No control plane runs, and the softlaunch.yaml here is of {found.service} with the environments {names}.",
            remedy="Say which with --env, name the folder with --dir, or start the control plane.",
            code=errors.Code.WHICH_PLACE,
        )
    return _Place(service=found.service, spec=chosen, stable=None)


def _speed(text: str) -> float:
    found = _RATE.fullmatch(text)
    if found is None or not float(found[1]) > 0:
        raise errors.ConfigError(
            f"--rate {text!r} is no speed.", remedy="Write a number and an x, such as 5x.", code=errors.Code.BAD_OPTION
        )
    return float(found[1])


def _span(since: str, until: str) -> _Span:
    now = time.time()
    span = _Span(since=_moment(since, now), until=_moment(until, now), words="")
    if not span.since < span.until:
        raise errors.ConfigError(
            f"--since {since} is not before --until {until}.",
            remedy="Both say how long ago: --since 2h --until 1h is the hour before the last one.",
            code=errors.Code.BAD_OPTION,
        )
    ago = "the last " + since if until == "0" else f"{live.day(span.since)} to {live.day(span.until)}"
    words = ago if re.fullmatch(r"[0-9.]+[a-z]+", since) or until != "0" else f"{live.day(span.since)} on"
    return dataclasses.replace(span, words=words)


def _moment(text: str, now: float) -> float:
    if "-" not in text:
        return now - units.duration_seconds(text)
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise errors.ConfigError(
            f"{text!r} is no time.", remedy="Write 2h, or 2026-01-31T08:00.", code=errors.Code.BAD_OPTION
        ) from error


@contextlib.contextmanager
def _progress(plan: Any, *, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """A line that is redrawn on a terminal; nothing elsewhere."""
    if quiet or not output.CONSOLE.is_terminal:
        yield lambda _: None
        return
    with rich.live.Live(
        rich.text.Text(f"Starting {plan.candidate} where no user can reach it ..."),
        console=output.CONSOLE,
        auto_refresh=False,
        transient=True,
    ) as screen:

        def show(found: Any) -> None:
            line = f"{found.sent_count:,} requests sent, {found.paired_count:,} answered and compared, "
            at = f"up to {live.clock(found.recorded_at)}, " if found.recorded_at else ""
            verdict = rich.text.Text.from_markup(_WORDS[found.verdict.value])
            screen.update(rich.text.Text(line + at + "so far: ").append_text(verdict), refresh=True)

        yield show


@contextlib.contextmanager
def _ends_tidily(*, leashed: bool) -> Iterator[None]:
    """
    Whatever ends this command lets it stop the candidate's processes first.

    Leashed: so does the end of standard input, which comes when whoever started this is gone, even by kill -9.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    if leashed:

        def watch() -> None:
            while os.read(0, 1024):  # not sys.stdin: whose lock this thread would hold while the interpreter ends
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="leash", daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
