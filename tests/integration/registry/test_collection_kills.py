"""A collection of garbage, killed at random moments while releases come and go."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from softlaunch.adapters.oci import blobs, garbage, layout
from softlaunch.adapters.oci import registry as oci
from softlaunch.core import release
from softlaunch.testing import releases

KILLS = 20
WORKER = """
import os, pathlib, sys
from softlaunch.adapters.oci import garbage, registry
root, source, needed = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
shelf, broom = registry.OciRegistry(root), garbage.Garbage(root)
print("ready", flush=True)
while True:
    for directory in sorted(source.iterdir()):
        shelf.push(directory)
    for path in (root / "blobs" / "sha256").iterdir():
        os.utime(path, (1.0, 1.0))
    kept = {each for each in map(lambda found: found["release"], shelf.listed()) if each == needed}
    broom.collect(lambda: {registry.release.Digest(each) for each in kept}, grace_seconds=60.0)
"""


@pytest.mark.slow
def test_what_is_listed_is_whole_whenever_it_is_killed(tmp_path: pathlib.Path) -> None:
    root, source, chance = tmp_path / "registry", tmp_path / "sources", random.Random(5)
    for name in ("1", "2", "3", "4"):
        releases.write(source / name, name=name)
    needed = oci.OciRegistry(root).push(source / "1")
    moments = set()
    for _ in range(KILLS):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root), str(source), needed.value], stdout=subprocess.PIPE
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.15))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        moments.add(_whole(root, needed))

    assert len(moments) > 1, "it was killed in different moments"
    for path in (root / "blobs" / "sha256").iterdir():
        os.utime(path, (1.0, 1.0))
    garbage.Garbage(root).collect(lambda: {needed}, grace_seconds=60.0)
    manifest = json.loads(blobs.Blobs(root).get(needed))
    reachable = {needed.value, *(each["digest"] for each in (manifest["config"], *manifest["layers"]))}
    assert reachable == {f"sha256:{path.name}" for path in (root / "blobs" / "sha256").iterdir()}, (
        "nothing is left over"
    )


def _whole(root: pathlib.Path, needed: release.Digest) -> int:
    shelf = oci.OciRegistry(root)
    listed = [each.digest for each in layout.Index(root).read()]
    assert needed in listed
    for digest in listed:
        shelf.check(digest)
    return len(listed)
