"""What is different between two releases."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import rich.markup
import typer

from softlaunch import errors
from softlaunch.cli import client, options, output, places
from softlaunch.config import home as homes

if TYPE_CHECKING:
    from softlaunch.core import release_diff
    from softlaunch.wiring import lineage

_ROWS_MAX = 20
_TITLES = {
    "code": "code",
    "packages": "packages",
    "model": "model",
    "signature": "signature",
    "gates": "gates",
    "profile": "reference",
    "runtime": "runtime",
    "data": "data",
    "other": "other files",
}
_STATISTICS = {"kolmogorov_smirnov": "Kolmogorov-Smirnov distance", "total_variation": "total variation distance"}
_KINDS = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]", "mode": "[yellow]~[/]"}


def diff(
    before: Annotated[str | None, typer.Argument(help="Release: digest, commit, tag or branch.")] = None,
    after: Annotated[str | None, typer.Argument(help="Another release.")] = None,
    *,
    service: options.Service = None,
    environment: options.Environment = None,
    patch: Annotated[bool, typer.Option("--patch", help="Show the changed lines of the code too.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 when the releases differ.")] = False,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    What is different between two releases: code, packages, model, signature, gates, reference, runtime, data.

    With --env in place of releases: what is live against the candidate that is being launched, or else what was live
    before against what is live. That asks the control plane; everything else needs none.

    Examples:

        softlaunch diff v1.2 main
        softlaunch diff 3f1c9a0b77de 77aa01c2d3e4 --patch
        softlaunch diff --env production --json
        softlaunch diff v1.2 main --exit-code
    """
    from softlaunch.wiring import comparing, lineage  # noqa: PLC0415 - as in `build`

    place = homes.Home.locate(home)
    if (before is None) is not (after is None) or (before is None) is (environment is None):
        raise errors.ConfigError(
            "It is not clear what is to be compared.",
            remedy="Name two releases, or an environment with --env.",
            code=errors.Code.BAD_OPTION,
        )
    if before is None or after is None:
        before, after = comparing.pick(_place(place, service, environment))
    known = lineage.find(place, before), lineage.find(place, after)
    found = comparing.compare(place, *known, directory=directory)
    if as_json:
        output.document(found.document())
    else:
        _show(found, known, patch=patch)
    if exit_code and found.differs:
        raise typer.Exit(options.EXIT_DIFFERENT)


def _place(place: homes.Home, service: str | None, environment: str | None) -> dict[str, Any]:
    control = client.Client(place)
    wanted = places.pick(control, service=service, environment=environment, running=False)
    found: list[dict[str, Any]] = control.get("/v1/status")["services"]
    return next(each for each in found if (each["service"], each["environment"]) == wanted)


def _show(found: release_diff.Difference, known: Sequence[lineage.Known], *, patch: bool) -> None:
    if not found.differs:
        output.plain(f"Both are release {found.before.short}: nothing is different.")
        return
    output.text(f"[bold]{_named(known[0])}[/] → [bold]{_named(known[1])}[/]")
    same = []
    for name, title in _TITLES.items():
        rows = list(_rows(name, getattr(found, name)))
        if not rows:
            same.append(title)
            continue
        output.text(f"[bold]{title}[/]")
        for row in rows[:_ROWS_MAX]:
            output.text(f"  {row}")
        if len(rows) > _ROWS_MAX:
            output.text(f"  [dim]and {len(rows) - _ROWS_MAX} more: --json has them all[/]")
    unknown = ["data"] if found.notes else []
    same = [title for title in same if title not in unknown]
    if same:
        output.text(f"[dim]the same: {', '.join(same)}[/]")
    for note in found.notes:
        output.text(f"[yellow]![/] {_escaped(note)}")
    for change in found.code if patch else ():
        for line in change.patch.splitlines():
            output.text(_coloured(line))


def _named(known: lineage.Known) -> str:
    last = known.records[-1] if known.records else None
    words = (last.commit[:12], last.branch or "", *last.tags) if last is not None else ()
    return _escaped(f"{known.digest.short} ({', '.join(word for word in words if word)})".replace(" ()", ""))


def _rows(name: str, changes: Sequence[Any]) -> Iterator[str]:
    """The changes of one kind, as Rich markup."""
    match name:
        case "code":
            yield from _code(changes)
        case "gates":
            yield from map(_gate, changes)
        case "profile":
            yield from map(_feature, changes)
        case _:
            yield from map(_change, changes)


def _code(changes: Sequence[release_diff.FileChange]) -> Iterator[str]:
    width = min(60, max((len(each.path) for each in changes), default=0))
    if len(changes) > 1:
        added, removed = sum(each.added_lines for each in changes), sum(each.removed_lines for each in changes)
        yield f"{len(changes)} files, [green]+{added}[/] [red]-{removed}[/]"
    for each in changes:
        lines = f"[green]+{each.added_lines}[/] [red]-{each.removed_lines}[/]"
        what = "mode" if each.kind == "mode" else "not text" if each.binary else lines
        yield f"{_KINDS[each.kind]} {_escaped(each.path.ljust(width))}  {what}"


def _change(change: release_diff.Change) -> str:
    kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    shown = " → ".join(_value(value) for value in (change.before, change.after) if value is not None)
    note = f" ({change.note})" if change.note else ""
    return f"{_KINDS[kind]} {_escaped(f'{change.name}  {shown}{note}')}"


def _value(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    parts = [f"{value['bytes']:,} bytes"] if "bytes" in value else []
    parts += [str(value[name]) for name in ("uri", "version") if value.get(name)]
    parts += [f"sha256 {value['sha256'][:12]}"] if value.get("sha256") else []
    parts += [value["mode"]] if value.get("mode", "file") != "file" else []
    return ", ".join(parts)


def _gate(change: release_diff.GateChange) -> str:
    kind = "added" if change.before is None else "removed" if change.after is None else "changed"
    told = [
        f"{gate.value:g} ({gate.threshold}, {'passed' if gate.passed else 'failed'})"
        for gate in (change.before, change.after)
        if gate is not None
    ]
    by = f"  {change.difference:+g}" if change.difference is not None else ""
    return f"{_KINDS[kind]} {_escaped(f'{change.name}  ' + ' → '.join(told) + by)}"


def _feature(change: release_diff.FeatureChange) -> str:
    parts = [change.note] if change.note else []
    if change.distance is not None and change.distance_least is not None:
        least = f" (at least {change.distance_least:.3f})" if change.distance_least < change.distance - 0.0005 else ""
        parts.append(f"{_STATISTICS[change.statistic]} {change.distance:.3f}{least}")
    shares = change.missing_before, change.missing_after
    if shares[0] != shares[1] and None not in shares:
        parts.append(f"missing {shares[0]:.2%} → {shares[1]:.2%}")
    return f"{_KINDS['changed']} {_escaped(f'{change.name}  ' + ', '.join(parts))}"


def _coloured(line: str) -> str:
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return f"[{colour}]{_escaped(line)}[/]" if colour else _escaped(line)


def _escaped(words: str) -> str:
    """Nothing in it is markup, and nothing moves a terminal's cursor."""
    return rich.markup.escape("".join(letter if letter.isprintable() or letter == "\t" else "?" for letter in words))
