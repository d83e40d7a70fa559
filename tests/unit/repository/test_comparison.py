"""What the comparison says of softlaunch is shown by tests that exist; what it says of others has a source."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import repository_files

PAGE = repository_files.ROOT / "docs" / "explanation" / "comparison.md"
RIVALS = ["Argo Rollouts", "Flagger", "Kayenta", "SageMaker", "Seldon Core", "KServe"]
_OUR_LINK = re.compile(r"\[[^\]]+\]\((\.\./\.\./tests/[^)#]+)#(\w+)\)")


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every table, its head included, without the line of dashes."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|---" not in line]
        for table in found
    ]


TABLES = tables(PAGE.read_text())
FEATURES = {row[0]: row for table in TABLES for row in table[1:]}


@functools.cache
def names_in(path: pathlib.Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def unknown_tests(cell: str) -> list[str]:
    """Those linked from a cell that no tracked file has."""
    missing = []
    for target, name in _OUR_LINK.findall(cell):
        path = (PAGE.parent / target).resolve()
        if path not in repository_files.files() or name not in names_in(path):
            missing.append(f"{target}#{name}")
    return missing


def test_every_table_compares_with_all_of_them() -> None:
    assert [["", "softlaunch", *RIVALS]] * len(TABLES) == [table[0] for table in TABLES]
    assert {len(row) for row in FEATURES.values()} == {2 + len(RIVALS)}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_claim_about_softlaunch_names_a_test_that_exists(feature: str) -> None:
    ours = FEATURES[feature][1]

    assert _OUR_LINK.findall(ours), f"no test shows {ours!r}"
    assert unknown_tests(ours) == []


def test_a_test_that_does_not_exist_is_found() -> None:
    here = "../../tests/unit/repository/test_docs.py"

    assert unknown_tests(f"[x]({here}#test_every_error_code_is_documented)") == []
    assert unknown_tests(f"[x]({here}#test_nothing)") == [f"{here}#test_nothing"]
    assert unknown_tests("[x](../../tests/test_none.py#test_a)") == ["../../tests/test_none.py#test_a"]


def test_every_source_is_given_and_used() -> None:
    text = PAGE.read_text()
    given = set(re.findall(r"^\[([\w-]+)\]: https://\S+$", text, re.MULTILINE))
    used = set(re.findall(r"\]\[([\w-]+)\]", text))

    assert used - given == set()
    assert given - used == set()
