"""The page on other tools, run with those of them that are installed."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from softlaunch.adapters.lake import delta
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake

PAGE = pathlib.Path(__file__).parents[3] / "docs/howto/open-the-log-elsewhere.md"
SCORE = schema.Field(name="score", kind=schema.Kind.DOUBLE)
AMOUNTS = (
    schema.Field(name="amount", kind=schema.Kind.INT),
    schema.Field(name="amount@fp64", kind=schema.Kind.DOUBLE),
)


def block(name: str, amount: schema.Field, day: int) -> lake.Block:
    values = {
        "id": f"{name}:0", "request_id": name, "row": 0, "time": (1_700_000_000 + day * 86_400) * 1_000_000,
        "release": "0123456789ab", "served": True, "keys": [("customer", "4711")],
    }  # fmt: skip
    return lake.Block(
        rows=[tuple(values.get(field.name) for field in schema.ENVELOPE)],
        feature_fields=(amount,), features=[(7,)], answer_fields=(SCORE,), answers=[(0.25,)],
    )  # fmt: skip


@pytest.mark.parametrize("tool", ["DuckDB", "Polars", pytest.param("Spark", marks=pytest.mark.slow)])
def test_the_log_opens_in(tool, tmp_path) -> None:
    pytest.importorskip({"DuckDB": "duckdb", "Polars": "polars", "Spark": "pyspark"}[tool])
    log = delta.DeltaLake(tmp_path / "log")
    log.append("demo", [block("a", AMOUNTS[0], 0)], environment="production", progress=progress.Progress(version=1))
    log.append("demo", [block("b", AMOUNTS[1], 1)], environment="production", progress=progress.Progress(version=2))
    section = PAGE.read_text().split(f"## {tool}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python no-run\n(.*?)```", section, re.DOTALL)

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr[-3000:]
    assert re.search(r"0123456789ab\W+2\W+0\.25\b", done.stdout), done.stdout
