"""
softlaunch's model server beside MLServer, LitServe, BentoML, Ray Serve and FastAPI: same models, rows and machine.

Every rival has an environment of its own (rivals/*.txt, the same scikit-learn and onnxruntime in all), one worker, and
of the settings its documentation offers the fastest (`tune`, kept in rivals/chosen.json). Server and client (h2load)
have a core each; rivals of several processes may have both if that is faster. Before it is timed, every server's
answers to 100 rows are compared with scikit-learn's. Each round starts every server anew, in turn.

    python benchmarks/serving/rivals.py run --out benchmarks/results/serving_rivals.json

`prepare` only makes the environments; `tune` tries the settings again and keeps each one's best (a quarter of an
hour). A run that was interrupted goes on with --resume.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import pickle
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import rivals_client
import rivals_models
import rivals_servers
import rivals_settings

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "launches"))

import record

PACKAGES = (
    *("mlserver", "litserve", "bentoml", "ray", "fastapi", "uvicorn", "uvloop", "pydantic"),
    *("scikit-learn", "onnxruntime", "numpy", "granian", "msgspec"),
)


def prepare(cache: pathlib.Path, only: tuple[str, ...]) -> None:
    """Makes the environments that are missing or whose requirements have changed."""
    uv = str(pathlib.Path(sys.executable).with_name("uv"))
    for rival in only:
        wanted = (rivals_servers.SERVICES / f"{rival}.txt").read_bytes()
        marker = cache / rival / ".requirements"
        if marker.is_file() and marker.read_bytes() == wanted:
            continue
        record.say(f"environment of {rival}")
        shutil.rmtree(cache / rival, ignore_errors=True)
        requirements = str(rivals_servers.SERVICES / f"{rival}.txt")
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(cache / rival)], check=True)
        python = str(cache / rival / "bin" / "python")
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "-r", requirements], check=True)
        marker.write_bytes(wanted)


def models(cache: pathlib.Path, *, anew: bool) -> dict[str, rivals_models.Model]:
    """Trained and built; kept in the cache for `tune` and --resume."""
    directory = cache / "models"
    kept = directory / "models.pickle"
    if kept.is_file() and not anew:
        found: dict[str, rivals_models.Model] = pickle.loads(kept.read_bytes())
        return found
    shutil.rmtree(directory, ignore_errors=True)
    made = {}
    for number, name in enumerate(rivals_models.classifiers()):
        record.say(f"training and building {name}")
        made[name] = rivals_models.make(name, directory / str(number))
        record.say(f"{name}: {' '.join(made[name].notes)}")
    kept.write_bytes(pickle.dumps(made))
    return made


@contextlib.contextmanager
def served(
    variant: rivals_servers.Variant, model: rivals_models.Model, cache: pathlib.Path
) -> Iterator[tuple[rivals_servers.Running, float, float]]:
    """The running server, the seconds it took to start, and the largest difference of its answers."""
    with tempfile.TemporaryDirectory(prefix="slr-", ignore_cleanup_errors=True) as place:
        cores = variant.settings.get("cores", rivals_settings.ONE_CORE)
        running = rivals_servers.start(variant, model, pathlib.Path(place), cache=cache, cores=cores)
        try:
            seconds = rivals_client.wait_until_up(running)
            yield running, seconds, rivals_client.check_answers(running, model)
        finally:
            running.stop()


def tune(options: argparse.Namespace, found: dict[str, rivals_models.Model]) -> None:
    """Tries all settings; onnxruntime's on one model, because it is no bottleneck on any."""
    path = rivals_settings.CHOSEN
    kept = json.loads(path.read_text(encoding="utf-8"))["tried"] if path.is_file() else []
    for rival in options.only:
        tried: list[dict[str, Any]] = []
        for engine in ("onnx",) if rival == "fastapi" else ("sklearn", "onnx"):
            names = list(found) if engine == "sklearn" else list(found)[:1]
            for variant in rivals_settings.candidates(rival, engine):
                for name in names:
                    told = _tried(options, variant, found[name])
                    tried += (
                        told if engine == "sklearn" else [each | {"model": other} for each in told for other in found]
                    )
        kept = _best([*kept, *tried], rival)
        path.write_text(json.dumps({"tried": kept}, indent=1) + "\n", encoding="utf-8")


def _best(tried: list[dict[str, Any]], rival: str) -> list[dict[str, Any]]:
    """The best of all trials of one setting: what disturbs a trial only makes it slower. Settings no more tried go."""
    known = rivals_settings.tried(rival)
    found: dict[str, dict[str, Any]] = {}
    for each in tried:
        if each["rival"] == rival and each["settings"] not in known:
            continue
        key = json.dumps({name: value for name, value in each.items() if name != "per_second"}, sort_keys=True)
        if key not in found or found[key]["per_second"] < each["per_second"]:
            found[key] = each
    return list(found.values())


def _tried(
    options: argparse.Namespace, variant: rivals_servers.Variant, model: rivals_models.Model
) -> list[dict[str, Any]]:
    rows = []
    try:
        with served(variant, model, options.cache) as (running, _, _):
            for connections in rivals_settings.CONNECTIONS:
                told = _measured(running, model, options, connections=connections, number=0)
                record.say(f"{variant.key} on {model.name}, {connections} connections: {told.per_second:,.0f}/s")
                rows.append(
                    {
                        "rival": variant.rival,
                        "engine": variant.engine,
                        "model": model.name,
                        "settings": dict(variant.settings),
                        "connections": connections,
                        "per_second": round(told.per_second, 1) if not told.failed else 0.0,
                    }
                )
    except RuntimeError as error:
        record.say(f"not usable: {error}")
    return rows


def _measured(
    running: rivals_servers.Running,
    model: rivals_models.Model,
    options: argparse.Namespace,
    *,
    connections: int,
    number: int,
) -> rivals_client.Throughput:
    return rivals_client.throughput(
        running,
        model.rows[number],
        connections=connections,
        warm_up_seconds=options.warm_up,
        seconds=options.seconds,
        cores=rivals_settings.CLIENT_CORE,
    )


def run(options: argparse.Namespace, found: dict[str, rivals_models.Model]) -> None:
    """The rounds, and the result file after each of them."""
    field = rivals_settings.field(list(found), options.only)
    journal = options.cache / "cells.jsonl"
    if not options.resume:
        journal.unlink(missing_ok=True)
    cells = [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []
    missing = 0
    done = {(cell["model"], cell["key"], cell["round"]) for cell in cells}
    for number in range(options.rounds):
        # Every other round backwards: whoever comes after a hot or a cold neighbour does not always.
        for name, variant in field if number % 2 == 0 else reversed(field):
            if (name, variant.key, number) in done:
                continue
            try:
                cell = _cell(options, variant, found[name], number, light=name == next(iter(found)))
            except RuntimeError as error:  # of one server: the others are measured all the same
                record.say(f"{number + 1}: {name}, {variant.key} was not measured: {error}")
                missing += 1
                continue
            cells.append(cell)
            with journal.open("a") as out:
                out.write(json.dumps(cell) + "\n")
            record.say(f"{number + 1}: {name}, {variant.key}: {cell['per_second']:,.0f}/s, {cell['failed']} failed")
        about = argparse.Namespace(**{name: value for name, value in vars(options).items() if name != "cache"})
        record.write(about, _document(options, found, field, cells))
    if missing:
        raise SystemExit(f"{missing} measurements failed; run again with --resume.")


def _cell(
    options: argparse.Namespace,
    variant: rivals_servers.Variant,
    model: rivals_models.Model,
    number: int,
    *,
    light: bool,
) -> dict[str, Any]:
    with served(variant, model, options.cache) as (running, seconds, difference):
        latencies = rivals_client.light_latency(running, model, seconds=options.light_seconds) if light else []
        told = _measured(running, model, options, connections=variant.connections, number=number)
    return {
        "model": model.name,
        "key": variant.key,
        "round": number,
        "start_seconds": seconds,
        "difference": difference,
        "latencies": latencies,
        **dataclasses.asdict(told),
    }


def _document(
    options: argparse.Namespace,
    found: dict[str, rivals_models.Model],
    field: list[tuple[str, rivals_servers.Variant]],
    cells: list[dict[str, Any]],
) -> dict[str, Any]:
    rows = []
    for name, variant in field:
        own = [cell for cell in cells if (cell["model"], cell["key"]) == (name, variant.key)]
        if own:
            rows.append(_row(name, variant, own))
    return {
        "features": len(rivals_models.FEATURES),
        "training_rows": rivals_models.ROW_COUNT,
        "checked_rows": rivals_models.ASKED_COUNT,
        "light_rate": rivals_client.LIGHT_RATE,
        "client": subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        "versions": {rival: _versions(options.cache, rival) for rival in ("softlaunch", *options.only)},
        "builds": {name: list(model.notes) for name, model in found.items()},
        "rows": rows,
    }


def _row(name: str, variant: rivals_servers.Variant, own: list[dict[str, Any]]) -> dict[str, Any]:
    latencies = sorted(latency for cell in own for latency in cell["latencies"])
    rates = [round(cell["per_second"], 1) for cell in own]
    return {
        "rival": variant.rival,
        "engine": variant.engine,
        "model": name,
        "settings": dict(variant.settings),
        "connections": variant.connections,
        "rates": rates,
        "rate": statistics.median(rates),
        "answered": sum(cell["answered"] for cell in own),
        "failed": sum(cell["failed"] for cell in own),
        "difference": max(cell["difference"] for cell in own),
        "server_busy": round(statistics.median(cell["server_busy"] for cell in own), 2),
        "cpu_us": round(statistics.median(cell["server_busy"] / max(cell["per_second"], 1) for cell in own) * 1e6, 1),
        "client_busy": round(max(cell["client_busy"] for cell in own), 2),
        "start_seconds": round(statistics.median(cell["start_seconds"] for cell in own), 1),
        "light_ms": {
            "count": len(latencies),
            "p50": round(rivals_client.quantile(latencies, 0.5), 3),
            "p99": round(rivals_client.quantile(latencies, 0.99), 3),
        }
        if latencies
        else None,
    }


def _versions(cache: pathlib.Path, rival: str) -> dict[str, str]:
    uv = str(pathlib.Path(sys.executable).with_name("uv"))
    python = sys.executable if rival == "softlaunch" else str(cache / rival / "bin" / "python")
    listed = subprocess.run(
        [uv, "pip", "list", "--format=json", "--python", python], capture_output=True, text=True, check=True
    )
    return {each["name"]: each["version"] for each in json.loads(listed.stdout) if each["name"] in PACKAGES}


def _options() -> argparse.Namespace:
    parser = record.parser(__doc__)
    parser.add_argument("what", choices=("prepare", "tune", "run"))
    default = pathlib.Path.home() / ".cache" / "softlaunch-rivals"
    parser.add_argument("--cache", type=pathlib.Path, default=default, help="environments and models (%(default)s)")
    parser.add_argument("--only", default=",".join(rivals_settings.RIVALS), help="rivals, with commas (all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of load before it (%(default)s)")
    parser.add_argument("--light-seconds", type=float, default=5.0, help="of light load, each round (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    options = parser.parse_args()
    options.only = tuple(options.only.split(","))
    if unknown := set(options.only) - set(rivals_settings.RIVALS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(rivals_settings.RIVALS)}")
    return options


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds: servers are stopped
    options = _options()
    rivals_client.check_tools()
    prepare(options.cache, options.only)
    if options.what == "prepare":
        return
    found = models(options.cache, anew=options.what == "run" and not options.resume)
    (tune if options.what == "tune" else run)(options, found)


if __name__ == "__main__":
    main()
