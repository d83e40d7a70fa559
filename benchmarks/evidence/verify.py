"""
What `softlaunch verify` costs beside reading and hashing: a release with a model of a gigabyte, signed.

    python benchmarks/evidence/verify.py [--bytes 1000000000]

The bar: the command takes at most half a second longer than sha256 takes over the same blobs, both read from a warm
page cache, each the best of three. What any command needs to start (`softlaunch --version`) is in it, and shown beside.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.config import home as homes
from softlaunch.core import intoto, provenance, release, release_json
from softlaunch.wiring import evidence

CONTENT = release.ReleaseContent(
    service="large",
    runtime=release.Runtime.ONNX,
    model_file="model/model.onnx",
    python_target=None,
    signature=release.Signature(inputs=(), outputs=()),
    lock_file=None,
    profile_file=None,
    smoke_file=None,
)
LINEAGE = release.Lineage(
    commit="a" * 40, branch="main", tags=(), author="a", committed_at="", built_at="", tests="no tests"
)
BAR_SECONDS = 0.5


def signed_release(home: homes.Home, scratch: pathlib.Path, size: int) -> release.Digest:
    (scratch / "model").mkdir(parents=True)
    (scratch / "release.json").write_bytes(release_json.dump_content(CONTENT))
    with (scratch / "model" / "model.onnx").open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))
    registry = oci_registry.OciRegistry(home.registry)
    digest = registry.push(scratch)
    registry.attach(digest, LINEAGE)
    keys = evidence.directory(home)
    keys.new("release")
    build = provenance.Build(
        content=CONTENT,
        digest=digest,
        lineage=LINEAGE,
        locks=(),
        inputs=(),
        blobs=tuple(registry.check(digest)),
        versions={},
    )
    statements = provenance.statements(build)
    assert intoto.Kind.PROVENANCE is statements[-1].kind
    evidence.of(home).attach(statements, keys.signer())
    return digest


def best(timed: Callable[[], object]) -> float:
    found = []
    for _ in range(3):
        began = time.perf_counter()
        timed()
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--bytes", type=int, default=1_000_000_000)
    size = arguments.parse_args().bytes
    with tempfile.TemporaryDirectory(prefix="softlaunch-verify-") as name:
        place = pathlib.Path(name)
        home = homes.Home(place / "home")
        home.prepare()
        digest = signed_release(home, place / "unpacked", size)
        blobs = sorted((home.registry / "blobs" / "sha256").iterdir())

        def hashing() -> None:
            for blob in blobs:
                with blob.open("rb") as file:
                    hashlib.file_digest(file, "sha256").hexdigest()

        command = [sys.executable, "-m", "softlaunch.cli.main", "verify", digest.value, "--home", str(home.root)]

        def verifying() -> None:
            subprocess.run(command, check=True, capture_output=True)

        def starting() -> None:
            subprocess.run([*command[:3], "--version"], check=True, capture_output=True)

        hashed, verified, started = best(hashing), best(verifying), best(starting)
    print(
        json.dumps(
            {
                "bytes": size,
                "python": platform.python_version(),
                "hashing_seconds": round(hashed, 3),
                "verify_seconds": round(verified, 3),
                "any_command_seconds": round(started, 3),
                "beyond_hashing_seconds": round(verified - hashed, 3),
                "bar_seconds": BAR_SECONDS,
            },
            indent=2,
        )
    )
    sys.exit(verified - hashed > BAR_SECONDS)


if __name__ == "__main__":
    main()
