"""`softlaunch registry list` of what is in a home."""

from __future__ import annotations

import typer.testing

from softlaunch.adapters.oci import registry
from softlaunch.cli import main
from softlaunch.core import release
from softlaunch.testing import releases


def test_a_release_that_was_built_of_no_branch_is_listed(tmp_path) -> None:
    home = tmp_path / "home"
    kept = registry.OciRegistry(home / "registry")
    digest = kept.push(releases.write(tmp_path / "made", name="one"))
    lineage = release.Lineage(
        commit="c" * 40,
        branch=None,
        tags=("v1",),
        author="ann",
        committed_at="2026-01-01T00:00:00Z",
        built_at="2026-01-01T00:00:00Z",
        tests="none",
    )
    kept.attach(digest, lineage)

    shown = typer.testing.CliRunner().invoke(main.APP, ["registry", "list", "--home", str(home)])

    assert shown.exit_code == 0, shown.output
    assert f"{digest.short}  {releases.SERVICE}" in shown.output
    assert shown.output.rstrip().endswith(f"{'c' * 12} v1")
