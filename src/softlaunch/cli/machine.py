"""Commands about this machine: start, stop, check, begin."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Annotated, Any

import rich.markup
import typer

from softlaunch import errors
from softlaunch.cli import client, options, output
from softlaunch.config import home as homes
from softlaunch.config import settings as setting

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.05


def up(
    *,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal; Ctrl-C stops all.")] = False,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Start softlaunch on this machine: control plane, gateway, and what was live before.

    What a previous control plane left running is taken over, not restarted. A second `up` says so and exits 3.

    Examples:

        softlaunch up
        softlaunch up --foreground
        SOFTLAUNCH_HOME=/tmp/try softlaunch up --json
    """
    place = homes.Home.locate(home)
    settings = setting.read(os.environ)
    if foreground:
        from softlaunch.api import server  # noqa: PLC0415 - a second of imports no other command needs

        server.run(place, settings)
        return
    running = client.read_address(place)
    if running is not None and client.healthy(running):
        raise errors.ConflictError(
            f"softlaunch is already up in {place.root} (process {running['pid']}).",
            remedy="Use it, or stop it with `softlaunch down`.",
            code=errors.Code.ALREADY_UP,
        )
    if place.state_file.is_file() and not place.heads_file.exists():
        _tell_headless(place)
    began = time.monotonic()
    address = _detach(place)
    seconds = time.monotonic() - began
    if as_json:
        output.document({"url": address["url"], "pid": address["pid"], "home": str(place.root), "seconds": seconds})
        return
    output.text(f"[bold green]up[/] in {seconds:.1f} s: control plane {address['url']}, home {place.root}")
    found = client.Client(place).get("/v1/status")
    if not found["services"]:
        output.plain("Nothing is live yet. In a service's folder: `softlaunch deploy`.")
    for entry in found["services"]:
        output.plain(f"  {entry['service']} in {entry['environment']}: {entry['url']}")


def down(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    Stop everything of this home: model servers, gateway, control plane. Releases and history stay.

    Works after a crash too: what a killed control plane left running is found and stopped.

    Examples:

        softlaunch down
    """
    place = homes.Home.locate(home)
    address = client.read_address(place)
    if address is not None and client.healthy(address):
        client.Client(place).post("/v1/stop", {})
        _wait_gone(int(address["pid"]), place)
        stopped = True
    else:
        from softlaunch.wiring import control  # noqa: PLC0415 - as in `up`

        output.log_to_stderr()
        stopped = control.stop_leftovers(place, setting.read(os.environ))
    if as_json:
        output.document({"stopped": stopped})
    else:
        output.plain("Everything is stopped." if stopped else "Nothing was running.")


def doctor(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    Check this machine: Python, Envoy, ports, disk, clock. Says what to do. Exits 1 on a problem.

    Examples:

        softlaunch doctor
        softlaunch doctor --json
    """
    place = homes.Home.locate(home)
    from softlaunch.wiring import places  # noqa: PLC0415 - as in `up`

    checks = places.examine(place, setting.read(os.environ))
    if as_json:
        output.document({"checks": checks})
    else:
        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}
        for check in checks:
            output.text(f"{marks[check['state']]} {check['name']:<14} {rich.markup.escape(check['detail'])}")
            if check["state"] != "ok" and check["remedy"]:
                output.text(f"  {'':<14} [bold]fix[/] {rich.markup.escape(check['remedy'])}")
    if any(check["state"] == "problem" for check in checks):
        raise typer.Exit(options.EXIT_DIFFERENT)


def init(*, directory: options.Directory = pathlib.Path(), as_json: options.Json = False) -> None:
    """
    Write a commented softlaunch.yaml for the model or app that is already here.

    Examples:

        softlaunch init
        softlaunch init --dir services/pricing
    """
    from softlaunch.config import starter  # noqa: PLC0415 - as in `up`

    path = starter.write(directory)
    if as_json:
        output.document({"path": str(path)})
        return
    output.plain(f"Wrote {path}. Read it, commit it, then `softlaunch up` and `softlaunch deploy`.")


def _tell_headless(place: homes.Home) -> None:
    from softlaunch.wiring import chain  # noqa: PLC0415 - as in `up`, and rare

    count = chain.headless(place)
    if count:
        output.CONSOLE_ERR.print(
            f"[bold yellow]warning[/] {rich.markup.escape(str(place.heads_file))} is gone, and is begun anew: whether "
            f"the first {count} records of the history were written anew before now cannot be told any more."
        )
        output.CONSOLE_ERR.print(
            "  [bold]fix[/] Find out who took it away. A head that was kept elsewhere tells: "
            "`softlaunch verify --history --head NUMBER:HASH`."
        )


def _detach(place: homes.Home) -> dict[str, Any]:
    """Starts the control plane in a session of its own and waits until it is ready."""
    place.prepare()
    log = place.logs / "control-plane.log"
    with log.open("ab") as sink:
        began_at = sink.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "softlaunch.cli.main", "up", "--foreground", "--home", str(place.root)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        address = client.read_address(place)
        if address is not None and address["pid"] == process.pid and client.healthy(address):
            return address
        if process.poll() is not None:
            raise _failed(log, began_at, exit_code=process.returncode)
        time.sleep(_POLL_SECONDS)
    process.terminate()
    raise errors.UnavailableError(
        f"The control plane was not ready after {START_SECONDS_MAX:g} s.",
        remedy=f"Look into {log}.",
        code=errors.Code.NOT_RUNNING,
    )


def _failed(log: pathlib.Path, began_at: int, *, exit_code: int) -> errors.SoftlaunchError:
    """The error that ended the control plane, as it printed it itself."""
    with log.open("rb") as source:
        source.seek(began_at)
        tail = source.read().decode(errors="replace").strip().splitlines()
    what, _, fix = "\n".join(tail).rpartition("\n  fix ")
    what = what.rpartition("\nerror ")[2].removeprefix("error ")
    if what and fix:
        remedy, _, code = fix.rpartition("  (")
        kinds: dict[int, type[errors.ConfigError | errors.ConflictError]] = {
            2: errors.ConfigError,
            3: errors.ConflictError,
        }
        kind = kinds.get(exit_code, errors.UnavailableError)
        with contextlib.suppress(ValueError):
            return kind(what, remedy=remedy, code=errors.Code(code.rstrip(")")))
    return errors.UnavailableError(
        f"The control plane ended at once: {tail[-1] if tail else 'it printed nothing'}",
        remedy=f"Look into {log}.",
        code=errors.Code.NOT_RUNNING,
    )


def _wait_gone(pid: int, place: homes.Home) -> None:
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while time.monotonic() < deadline:
        if client.read_address(place) is None:
            return
        time.sleep(_POLL_SECONDS)
    raise errors.UnavailableError(
        f"The control plane (process {pid}) still stops after {STOP_SECONDS_MAX:g} s.",
        remedy="Run `softlaunch down` once more; logs/control-plane.log in the home says what it waits for.",
        code=errors.Code.NOT_STOPPED,
    )
