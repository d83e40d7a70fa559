"""The documentation says what the code does: error codes, commands, links, the changelog."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import repository_files

from softlaunch import errors

ERROR_PAGES = repository_files.ROOT / "docs" / "reference" / "errors"
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors GitHub makes of a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: pathlib.Path, text: str) -> list[str]:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (repository_files.ROOT / path.parent / name).resolve() if name else repository_files.ROOT / path
        missing_anchor = anchor and page.suffix == ".md" and page.is_file() and anchor not in anchors(page.read_text())
        if not page.exists() or missing_anchor:
            broken.append(f"{path}: {target}")
    return broken


def documented_codes() -> list[str]:
    pages = sorted(ERROR_PAGES.glob("*.md"))
    return [code for page in pages for code in re.findall(r"^### `?([a-z0-9-]+)`?\s*$", page.read_text(), re.MULTILINE)]


def test_every_error_code_is_documented() -> None:
    assert {code.value for code in errors.Code} - set(documented_codes()) == set()


def test_no_error_is_documented_that_does_not_exist() -> None:
    assert set(documented_codes()) - {code.value for code in errors.Code} == set()


def test_no_error_is_documented_twice() -> None:
    codes = documented_codes()

    assert sorted(codes) == sorted(set(codes))


def test_every_error_s_page_says_more_than_its_name() -> None:
    for page in ERROR_PAGES.glob("*.md"):
        for entry in re.split(r"^### ", page.read_text(), flags=re.MULTILINE)[1:]:
            assert len(entry.split()) > 10, f"{page.name}: {entry}"


def test_every_link_between_pages_leads_somewhere() -> None:
    assert [link for path, text in repository_files.pages() for link in broken_links(path, text)] == []


def test_a_broken_link_is_found() -> None:
    here = pathlib.Path("docs/x.md")

    assert broken_links(here, "[a](../pyproject.toml) [b](https://example.com/x)") == []
    assert broken_links(here, "[a](none.md)") == ["docs/x.md: none.md"]
    assert broken_links(here, "```\n[a](none.md)\n```") == []


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    assert re.search(r"^## \[?Unreleased\]?", (repository_files.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_every_command_has_its_place_in_the_reference() -> None:
    page = repository_files.ROOT / "docs" / "reference" / "cli.md"
    if importlib.util.find_spec("softlaunch.cli.main") is None:
        pytest.skip("there is no command line yet")
    import typer.main

    from softlaunch.cli import main

    commands = set(typer.main.get_group(main.APP).commands)
    documented = set(re.findall(r"^#+ `?(?:softlaunch )?([a-z-]+)`?", page.read_text(), re.MULTILINE))

    assert commands
    assert commands - documented == set()


def test_every_make_target_explains_itself() -> None:
    makefile = (repository_files.ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split())

    assert phony - set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE)) == set()
