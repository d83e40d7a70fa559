"""The section of docs/benchmarks.md on serving/rivals.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

TITLE = "The model server beside others"
BAR_SERVERS, BAR_ONNXRUNTIME = 15.0, 5.0
_NAMES = {"mlserver": "MLServer", "litserve": "LitServe", "bentoml": "BentoML", "ray": "Ray Serve"}
_BARRED = ("mlserver", "litserve", "bentoml")
_ENGINES = {"sklearn": "scikit-learn", "onnx": "ONNX"}

Table = Callable[[Sequence[str], Iterable[Sequence[Any]]], str]


def prose(found: dict[str, Any]) -> str:
    """What was done, and which bars were missed."""
    rows = found["rows"]
    answered, failed = (sum(row[name] for row in rows) for name in ("answered", "failed"))
    client = max(row["client_busy"] for row in rows)
    missed = _missed(rows)
    return (
        "Single-row requests/s of one worker, closed loop, medians of "
        f"{len(rows[0]['rates'])} rounds that start every server anew (in brackets the lowest and highest), and how "
        "many times that softlaunch answers with capture on. The models are scikit-learn's, with "
        f"{found['features']} features and trained on {found['training_rows']:,} rows of float32 (which "
        'compile exactly); "ONNX" rows of rivals call '
        "onnxruntime on a converted model, so that what compilation does and what the server does can be told apart. "
        "Rivals have the fastest settings found (below) and send whatever their own protocol wants; server and client "
        "(h2load) have one core each, rivals of several processes both where that was faster. softlaunch and FastAPI "
        f"answer on Unix sockets, the others, which have none, on loopback ports. {found['checked_rows']} answers of "
        "every server were compared with scikit-learn's before it was timed: the largest difference is "
        f"{max(row['difference'] for row in rows):.0e}. {failed:,} of {failed + answered:,} requests failed. The "
        f"client was busy {client:.0%} of its core at most. "
        f"Bars: {BAR_SERVERS:g} times MLServer, LitServe and BentoML with scikit-learn, {BAR_ONNXRUNTIME:g} times "
        f"FastAPI + uvicorn + onnxruntime; {'missed: ' + '; '.join(missed) if missed else 'all reached'}."
    )


def body(found: dict[str, Any], table: Table) -> str:
    """Throughput, latency and settings."""
    rows = found["rows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    labels = list(dict.fromkeys(map(_label, rows)))
    by_place = {(_label(row), row["model"]): row for row in rows}
    parts = [
        table(
            ("server", *models),
            [(label, *(_rate(by_place, label, model) for model in models)) for label in labels],
        )
    ]
    light = [row for row in rows if row["light_ms"]]
    if light:
        parts.append(
            f"At {found['light_rate']:g} requests/s (open loop, {light[0]['model']}); CPU of a request at full load; "
            "time from the start to the first answer:\n\n"
            + table(
                ("server", "p50", "p99", "requests", "CPU", "starts in"),
                [
                    (
                        _label(row),
                        f"{row['light_ms']['p50']:.2f} ms",
                        f"{row['light_ms']['p99']:.2f} ms",
                        row["light_ms"]["count"],
                        f"{row['cpu_us']:,.0f} us",
                        f"{row['start_seconds']:.1f} s",
                    )
                    for row in light
                ],
            )
        )
    chosen = [row for row in rows if row["rival"] != "softlaunch"]
    parts.append(
        "The settings of the rivals:\n\n"
        + table(
            ("server", "model", "connections", "settings"),
            [(_label(row), row["model"], row["connections"], _settings(row)) for row in chosen],
        )
    )
    versions = {rival: told.get(rival) for rival, told in found["versions"].items() if told.get(rival)}
    same = found["versions"]["softlaunch"]
    shown = ", ".join(f"{_NAMES.get(rival, 'FastAPI')} {version}" for rival, version in versions.items())
    parts.append(f"{shown}; scikit-learn {same['scikit-learn']} and onnxruntime {same['onnxruntime']} everywhere.")
    return "\n\n".join(parts)


def _label(row: dict[str, Any]) -> str:
    settings = row["settings"]
    if row["rival"] == "softlaunch":
        if row["engine"] == "sklearn":
            return "softlaunch, not compiled"
        if settings["protocol"] == "V2":
            return "softlaunch, V2 JSON"
        return "softlaunch" if settings["capture"] else "softlaunch, capture off"
    if row["rival"] == "fastapi":
        return "FastAPI + uvicorn + onnxruntime" + (", no pydantic" if settings["handler"] == "by hand" else "")
    return f"{_NAMES[row['rival']]}, {_ENGINES[row['engine']]}"


def _rate(by_place: dict[tuple[str, str], dict[str, Any]], label: str, model: str) -> str:
    row = by_place.get((label, model))
    if row is None:
        return "-"
    told = f"{row['rate']:,.0f} ({min(row['rates']):,.0f} to {max(row['rates']):,.0f})"
    ours = by_place.get(("softlaunch", model))
    return told if ours is None or row is ours else f"{told}, {ours['rate'] / row['rate']:.1f} times"


def _missed(rows: list[dict[str, Any]]) -> list[str]:
    missed = []
    for row in rows:
        ours = next((each for each in rows if _label(each) == "softlaunch" and each["model"] == row["model"]), None)
        barred = row["rival"] in _BARRED and row["engine"] == "sklearn"
        fastapi = _label(row) == "FastAPI + uvicorn + onnxruntime"
        if ours is None or not (barred or fastapi):
            continue
        ratio = ours["rate"] / row["rate"]
        if ratio < (BAR_SERVERS if barred else BAR_ONNXRUNTIME):
            missed.append(f"{_label(row)} on {row['model']} ({ratio:.1f} times)")
    return missed


def _settings(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row["settings"].items())
