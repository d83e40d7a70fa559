"""Repositories with real models, and a workshop that builds them with softlaunch's own interpreter or a real one."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from softlaunch.adapters.build_tools import tables
from softlaunch.adapters.data_sources import by_scheme
from softlaunch.adapters.git import source
from softlaunch.adapters.local import clock
from softlaunch.adapters.oci import registry
from softlaunch.adapters.python_env import uv, workbench
from softlaunch.controller.pipeline import workshop
from softlaunch.core import spec

RECREATE = spec.StrategySpec(kind=spec.StrategyKind.BLUE_GREEN, steps=spec.shares(spec.WEIGHT_FULL))


@functools.cache
def frame() -> pd.DataFrame:
    """Flights made up with a fixed seed: text, whole numbers, numbers with holes."""
    random = np.random.default_rng(2013)
    count = 1_500
    carrier = random.choice(["UA", "AA", "B6", "EV"], count)
    hour = random.integers(5, 23, count)
    temp = np.round(random.normal(60, 15, count), 2)
    late = (hour / 10 + (carrier == "EV") + random.normal(0, 0.7, count) > 2).astype(int)
    temp[random.random(count) < 0.05] = np.nan
    return pd.DataFrame(
        {"carrier": carrier, "hour": hour, "temp": temp, "delay": np.round(late * 10 + hour + 0.5, 1), "late": late}
    )


def logistic():
    """Text by one-hot encoding, numbers imputed and scaled."""
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["hour", "temp"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame()[["carrier", "hour", "temp"]], frame()["late"])


def boosting():
    """Gradient boosting with holes in its numbers."""
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    return model.fit(frame()[["hour", "temp"]], frame()["late"])


def categorical_boosting():
    """A column of numbers that are categories: converts without a word, and wrongly."""
    rows = frame()[["hour", "temp"]].assign(hour=(frame()["hour"] * 7) % 18)
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0, categorical_features=["hour"])
    return model.fit(rows, frame()["late"])


def forest():
    """A forest on an array without names."""
    model = RandomForestClassifier(20, max_depth=6, random_state=0)
    return model.fit(frame()[["hour", "delay"]].to_numpy(), frame()["late"])


def regression():
    """Minutes of delay."""
    return RandomForestRegressor(10, max_depth=5, random_state=0).fit(frame()[["hour", "late"]], frame()["delay"])


class Repository:
    """A git repository whose top is the service's folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        identity = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
        identity |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
        found = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **identity},
        )
        return found.stdout.strip()

    def write(self, files) -> None:
        """Text, bytes, or a model to be dumped."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str | bytes):
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            elif isinstance(content, pd.DataFrame):
                content.to_parquet(path, index=False)
            else:
                joblib.dump(content, path)

    def commit(self, files, message: str = "change") -> None:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)


def shop_of(home: pathlib.Path, folder: pathlib.Path, **changes) -> workshop.Workshop:
    environments = uv.UvEnvironments(home / "venvs")
    values = {
        "source": source.GitSource(folder),
        "registry": registry.OciRegistry(home / "registry"),
        "environments": environments,
        "workbench": workbench.LocalWorkbench(environments.import_path()),
        "tables": tables.ArrowTables(),
        "downloads": by_scheme.Downloads(),
        "clock": clock.SystemClock(),
        "cache": home / "cache",
        "serving_python": pathlib.Path(sys.executable),
        "loader": "softlaunch.serving.unpacked",
    }
    return workshop.Workshop(**{**values, **changes})


def service(model: spec.ModelSpec | None = None, **changes) -> spec.ServiceSpec:
    environment = spec.EnvironmentSpec(name="production", branch="main", strategy=RECREATE)
    values = {
        "service": "flight-delay",
        "model": model or spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib"),
        "environments": (environment,),
    }
    return spec.ServiceSpec(**{**values, **changes})


def quality(*gates: tuple[str, str, float], label: str = "late") -> spec.TestsSpec:
    found = tuple(spec.QualityGate(metric=metric, operator=sign, threshold=value) for metric, sign, value in gates)
    return spec.TestsSpec(quality=spec.QualitySpec(data="data/holdout.parquet", label=label, gates=found))
