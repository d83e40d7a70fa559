"""What a release may be called on the command line."""

from __future__ import annotations

import pathlib
import subprocess

from softlaunch.adapters.oci import registry as oci
from softlaunch.config import home as homes
from softlaunch.core import release, release_json
from softlaunch.wiring import recordings

IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")


def git(directory: pathlib.Path, *words: str) -> str:
    found = subprocess.run(["git", *IDENTITY, *words], cwd=directory, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def pushed(home: homes.Home, directory: pathlib.Path, commit: str) -> release.Digest:
    (directory / "model").mkdir(parents=True)
    (directory / "model" / "model.onnx").write_bytes(commit.encode())
    content = release.ReleaseContent(
        service="flights",
        runtime=release.Runtime.ONNX,
        model_file="model/model.onnx",
        python_target=None,
        signature=release.Signature(inputs=(), outputs=()),
        lock_file=None,
        profile_file=None,
        smoke_file=None,
    )
    (directory / "release.json").write_bytes(release_json.dump_content(content))
    registry = oci.OciRegistry(home.registry)
    digest = registry.push(directory)
    registry.attach(
        digest,
        release.Lineage(
            commit=commit,
            branch="main",
            tags=(),
            author="Ada",
            committed_at="2026-01-01T00:00:00Z",
            built_at="2026-01-01T00:00:00Z",
            tests="none",
        ),
    )
    return digest


def test_what_git_makes_a_commit_of_names_its_release(tmp_path: pathlib.Path) -> None:
    home = homes.Home.locate(tmp_path / "home")
    service = tmp_path / "service"
    service.mkdir()
    git(service, "init", "-q", "-b", "main")
    digests = []
    for number in range(2):
        (service / "code.py").write_text(f"N = {number}\n")
        git(service, "add", "code.py")
        git(service, "commit", "-q", "-m", f"Release {number}")
        digests.append(pushed(home, tmp_path / f"release-{number}", git(service, "rev-parse", "HEAD")))

    def named(reference: str, directory: pathlib.Path = service) -> str:
        return recordings.known_as(home, reference, service="flights", directory=directory)

    assert [git(service, "rev-parse", name) for name in ("HEAD~1", "HEAD")] == [named("HEAD~1"), named("HEAD")]
    assert digests[0].value == named(digests[0].short)
    assert "HEAD" == named("HEAD", tmp_path), "outside of a repository the control plane is asked"
    assert "nothing-like-it" == named("nothing-like-it")
