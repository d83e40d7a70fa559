"""The build command, and building as the first part of a deploy."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Annotated, Any

import rich.markup
import typer

from softlaunch.cli import options, output
from softlaunch.config import home as homes
from softlaunch.core import release, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    digest: release.Digest
    commit: str
    spec: spec.ServiceSpec
    document: dict[str, Any]
    """What --json prints."""


def build(
    ref: options.Ref = "HEAD",
    *,
    pin: Annotated[
        bool,
        typer.Option("--pin", help="Fetch a model given by URL or by MLflow, pin it in softlaunch.lock; no build."),
    ] = False,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Make a release of a commit: tests, quality gates, model, compilation, profile.

    Works in a clean checkout and in the release's own Python environment. The same content always gets the same
    digest, wherever and whenever it is built.

    Examples:

        softlaunch build
        softlaunch build v1.2 --json
        softlaunch build --pin && git add softlaunch.lock
    """
    place = homes.Home.locate(home)
    if pin:
        from softlaunch.wiring import builds  # noqa: PLC0415 - a second of imports no other command needs

        pinned = builds.pin(place, directory)
        if as_json:
            output.document(pinned)
        else:
            what = f"{pinned['model']} to version {pinned['version']}," if "model" in pinned else f"{pinned['url']} to"
            output.plain(f"Pinned {what} sha256 {pinned['sha256']}. Commit softlaunch.lock.")
        return
    built = build_release(place, directory, ref, quiet=as_json)
    if as_json:
        output.document(built.document)


def pulled_release(home: homes.Home, directory: pathlib.Path, reference: str, *, quiet: bool) -> Built | None:
    """
    The release that a digest or a place in a registry names; None when `reference` is a name of git's.

    Raises:
        SoftlaunchError: see wiring.pulled.find.
    """
    from softlaunch.wiring import pulled  # noqa: PLC0415 - as in `build`

    def show(line: str) -> None:
        if not quiet:
            output.CONSOLE_ERR.print(line, style="dim", markup=False)

    found = pulled.find(home, directory, reference, show)
    if found is None:
        return None
    if not quiet:
        made_of = f" of commit {found.commit[:12]}" if found.commit else ""
        output.text(f"[bold]release {found.digest.short}[/]{made_of}: nothing to build")
    return Built(digest=found.digest, commit=found.commit, spec=found.spec, document={})


def build_release(home: homes.Home, directory: pathlib.Path, ref: str, *, quiet: bool) -> Built:
    """
    Builds, showing each step unless quiet.

    Raises:
        SoftlaunchError: whatever refused the release; nothing was stored.
    """
    from softlaunch.wiring import builds  # noqa: PLC0415 - as in `build`

    began: dict[str, float] = {}

    def show(name: str, state: str, detail: str) -> None:
        if state == "started":
            began[name] = time.monotonic()
        elif not quiet:
            mark = {"done": "[green]✓[/]", "cached": "[green]=[/]", "skipped": "[dim]-[/]", "failed": "[red]✗[/]"}.get(
                state, " "
            )
            seconds = time.monotonic() - began[name]
            output.text(f"{mark} {name:<12} {rich.markup.escape(detail)} [dim]({seconds:.1f} s)[/]")

    found = builds.build(home, directory, ref, progress=show)
    result = found.result
    if not quiet:
        for gap in found.spec.gaps:
            output.text(f"[yellow]gap[/] {rich.markup.escape(gap)}")
        for note in result.notes:
            output.text(f"[dim]note[/] {rich.markup.escape(note)}")
        again = ", built before" if result.reused else ""
        output.text(f"[bold]release {result.digest.short}[/] of commit {found.commit.id[:12]}{again}")
    document = {
        "service": found.spec.service,
        "release": result.digest.value,
        "commit": found.commit.id,
        "reused": result.reused,
        "gates": [dataclasses.asdict(gate) for gate in result.gates],
        "notes": list(result.notes),
        "gaps": list(found.spec.gaps),
        "tests": result.lineage.tests,
    }
    return Built(digest=result.digest, commit=found.commit.id, spec=found.spec, document=document)
