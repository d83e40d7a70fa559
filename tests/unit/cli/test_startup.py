"""A command imports what it needs, and not what the others need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "alembic", "apprise", "cryptography", "deltalake", "duckdb", "fastapi", "httpx", "jsonschema", "numpy",
    "opentelemetry", "polars", "psutil", "pyarrow", "scipy", "sqlalchemy", "structlog",
}  # fmt: skip
PROGRAM = """
import sys
from softlaunch.cli import main
try:
    main.main()
except SystemExit as ended:
    print(f"ended {ended.code}")
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported(*words: str, code: int = 0) -> set[str]:
    """Packages that are loaded when the command has ended."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True, timeout=60
    )
    lines = ran.stdout.splitlines()
    assert f"ended {code}" in lines, ran.stdout + ran.stderr
    return set(lines[-1].split())


def test_the_version_costs_no_package_but_the_one_that_reads_the_words() -> None:
    loaded = imported("--version")

    assert (HEAVY | {"pydantic", "rich"}) & loaded == set()
    assert "typer" in loaded


def test_verify_loads_nothing_of_the_control_plane_before_there_is_something_to_verify(tmp_path) -> None:
    loaded = imported("verify", "nothing", "--home", str(tmp_path), code=2)

    assert HEAVY & loaded == set()
    assert "rich" in loaded


def test_a_command_loads_no_other_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace('.partition(".")[0]', ""), "verify", "--help"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = {name for name in ran.stdout.splitlines()[-1].split() if name.startswith("softlaunch.cli.")}

    assert loaded <= {
        f"softlaunch.cli.{name}" for name in ("main", "catalogue", "evidence", "identifying", "options", "output")
    }
