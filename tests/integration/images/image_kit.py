"""Small bases and releases that images are made of in milliseconds, and installed packages without an index."""

from __future__ import annotations

import json
import os
import pathlib
import random
import zipfile

from softlaunch.adapters.images import builder
from softlaunch.core import release
from softlaunch.ports import images
from softlaunch.testing import releases

DIGEST = release.Digest("sha256:" + "ab" * 32)


def shuffled_write(top: pathlib.Path, files: dict[str, tuple[bytes, int]], random_: random.Random) -> pathlib.Path:
    """Writes the files in a random order with random times."""
    top.mkdir(parents=True)
    names = sorted(files)
    random_.shuffle(names)
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content, mode = files[name]
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, (random_.randrange(2**31), random_.randrange(2**31)))
    for directory in (top, *(path for path in top.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    return top


ROOT = {
    "bin/sh": (b"#!\n", 0o755),
    "lib/libc.so.6": (b"libc", 0o644),
    "usr/bin/python3.11": (b"python", 0o755),
    "usr/bin/su": (b"su", 0o4755),
    "usr/lib/python3.11/os.py": (b"name = 'posix'\n", 0o644),
    "etc/passwd": (b"root:x:0:0::/root:/bin/sh\n", 0o644),
}


def release_files(tmp_path: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    """Files of a release with a model, by name."""
    written = releases.write(tmp_path, name="image")
    files = {
        path.relative_to(written).as_posix(): (path.read_bytes(), 0o644)
        for path in written.rglob("*")
        if path.is_file()
    }
    return {**files, "model/weights.bin": (b"weights", 0o644), "code/run.sh": (b"#!/bin/sh\n", 0o755)}


def recipe(root: pathlib.Path, unpacked: pathlib.Path, **more) -> images.Recipe:
    return images.Recipe(
        **{
            "service": "demo",
            "release": DIGEST,
            "directory": unpacked,
            "base": images.Base(kind=images.BaseKind.ROOTFS, directory=root),
            "interpreter": None,
            "lock": b"greet==1.0\n",
            "packages": ("greet",),
            "architecture": "amd64",
            **more,
        }
    )


def builder_in(place: pathlib.Path) -> builder.OciBuilder:
    return builder.OciBuilder(place / "layout", place / "memory")


def wheel(directory: pathlib.Path, name: str, version: str) -> pathlib.Path:
    """A wheel with a module and a program."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "def main():\n    print('hi')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/RECORD,,\n")
    return path


def manifest(found: images.Image, place: pathlib.Path) -> dict:
    return json.loads((place / "layout" / "blobs" / "sha256" / found.digest.value[7:]).read_bytes())


def config(found: images.Image, place: pathlib.Path) -> dict:
    return json.loads((place / "layout" / "blobs" / "sha256" / found.config_digest.value[7:]).read_bytes())
