"""docs/README.md lists every page of the documentation, each where it belongs."""

from __future__ import annotations

import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import repository_files

DOCS = pathlib.Path("docs")
INDEX = (repository_files.ROOT / DOCS / "README.md").read_text()
KINDS = {
    "tutorials": "tutorials",
    "how-to": "howto",
    "reference": "reference",
    "explanation": "explanation",
    "decisions": "decisions",
}
"""What a table of the index is headed by, and the folder whose pages it lists."""


def listed(index: str) -> dict[str, list[str]]:
    """The pages linked from each table, by the first word of its head."""
    found = {}
    for table in re.findall(r"(?:^\|.*\|\n)+", index, re.MULTILINE):
        head, *_ = re.findall(r"[a-z-]+", table.splitlines()[0])
        found[head] = re.findall(r"\]\(([^)#]+\.md)\)", table)
    return found


def missing(index: str, pages: set[str]) -> set[str]:
    return pages - {page for table in listed(index).values() for page in table}


def test_every_page_is_listed() -> None:
    pages = {str(path.relative_to(DOCS)) for path, _ in repository_files.pages() if path.is_relative_to(DOCS)}

    assert missing(INDEX, pages - {"README.md"}) == set()


def test_no_page_is_listed_twice() -> None:
    pages = [page for table in listed(INDEX).values() for page in table]

    assert sorted(pages) == sorted(set(pages))


def test_every_kind_of_page_has_its_table() -> None:
    assert list(listed(INDEX)) == list(KINDS)


@pytest.mark.parametrize(("kind", "folder"), KINDS.items())
def test_a_table_lists_pages_of_its_own_kind(kind: str, folder: str) -> None:
    assert {page.split("/")[0] for page in listed(INDEX)[kind]} - {"benchmarks.md"} == {folder}


def test_a_page_that_is_not_listed_is_found() -> None:
    assert missing("| tutorials | |\n| [a](tutorials/a.md) | b |\n", {"tutorials/a.md", "howto/b.md"}) == {"howto/b.md"}
