"""
Images of releases, put together file by file: base, interpreter, dependencies, server, model, code.

What changes seldom comes first. A layer's bytes depend on its own content alone, so that an edit of the code makes one
small new layer, and registries and nodes that had the last image have all the others. See ports.images.ImageBuilder.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import tempfile
import zlib
from collections.abc import Mapping
from typing import Any

import softlaunch
from softlaunch import errors
from softlaunch.adapters.images import bases, contexts, packages, store, tarring
from softlaunch.core import release
from softlaunch.ports import images

TOP = "softlaunch"
SITE, SERVER, RELEASE = f"{TOP}/site", f"{TOP}/server", f"{TOP}/release"
PORT = 8080
USER = "65532:65532"
"""Nobody, by number: Kubernetes' runAsNonRoot refuses names. The number is that of distroless images."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EPOCH = "1970-01-01T00:00:00Z"
_RECIPE = 1
"""Part of the memory's keys: counts changes of how dependencies are laid out."""
_SERVED = ("__init__.py", "errors.py", "core", "serving")
"""Of softlaunch itself: what the model server imports."""
_REF_NAME = "org.opencontainers.image.ref.name"


class OciBuilder:
    """
    See ports.images.ImageBuilder.

    Args:
        root: The layout's directory.
        memory: Directory for what can be made again: resolved requirements, digests of layers.
    """

    def __init__(self, root: pathlib.Path, memory: pathlib.Path) -> None:
        self._store = store.Store(root)
        self._memory = memory

    @property
    def root(self) -> pathlib.Path:
        """See ports.images.ImageBuilder.root."""
        return self._store.root

    def build(self, recipe: images.Recipe, annotations: Mapping[str, str]) -> images.Image:
        """See ports.images.ImageBuilder.build."""
        base = bases.opened(recipe, self._store)
        python = _python(recipe, base.python)
        layers = list(base.layers)
        if recipe.interpreter is not None:
            layers.append(self._layer("interpreter", interpreter(recipe.interpreter), recipe))
        dependencies, note, listed = self._dependencies(recipe, python)
        layers.append(dependencies)
        layers.append(self._layer("server", server(python.path), recipe))
        for name, entries in (("model", model(recipe.directory)), ("code", code(recipe.directory))):
            if entries:
                layers.append(self._layer(name, entries, recipe))
        config = self._store.put(store.canonical(_config(recipe, base, layers, python, listed)))
        manifest = store.canonical(_manifest(recipe, base, layers, config, self._store))
        digest = self._store.put(manifest)
        self._store.list(
            {
                "mediaType": store.MANIFEST,
                "digest": digest.value,
                "size": len(manifest),
                "annotations": {_REF_NAME: digest.short, **annotations},
                "platform": {"architecture": recipe.architecture, "os": "linux"},
            }
        )
        return images.Image(
            digest=digest,
            config_digest=config,
            layers=tuple(layers),
            python=python.path,
            notes=tuple(each for each in (note, _version_note(python)) if each),
        )

    def listed(self) -> tuple[images.Stored, ...]:
        """See ports.images.ImageBuilder.listed."""
        return tuple(
            images.Stored(digest=release.Digest(each["digest"]), annotations=each.get("annotations", {}))
            for each in self._store.index()
        )

    def describe(self, digest: release.Digest) -> images.Description:
        """See ports.images.ImageBuilder.describe."""
        manifest = json.loads(self._store.read(digest))
        config = json.loads(self._store.read(release.Digest(manifest["config"]["digest"])))
        told = config["config"]
        return images.Description(
            digest=digest,
            service=told["Labels"]["dev.softlaunch.service"],
            release=release.Digest(told["Labels"]["dev.softlaunch.release"]),
            architecture=config["architecture"],
            command=tuple(told["Entrypoint"]),
            variables=dict(each.partition("=")[::2] for each in told["Env"]),
        )

    def context(self, recipe: images.Recipe, directory: pathlib.Path, base: str) -> None:
        """See ports.images.ImageBuilder.context."""
        found = bases.opened(recipe, self._store)
        python = _python(recipe, found.python)
        requirements, _ = packages.resolve(
            recipe.lock,
            recipe.packages,
            python=python.version,
            architecture=recipe.architecture,
            memory=self._memory,
        )
        with tempfile.TemporaryDirectory(prefix="softlaunch-image-") as scratch:
            target = pathlib.Path(scratch) / "site"
            packages.install(
                requirements,
                target,
                python=python.version,
                architecture=recipe.architecture,
                interpreter=python.path,
            )
            parts = {
                "interpreter": [] if recipe.interpreter is None else interpreter(recipe.interpreter),
                "dependencies": tarring.tree(target, SITE),
                "server": server(python.path),
                "model": model(recipe.directory),
                "code": code(recipe.directory),
            }
            if recipe.base.kind is images.BaseKind.ROOTFS:
                parts = {"base": tarring.tree(recipe.base.directory, "", is_root=True, skip=bases.is_pseudo), **parts}
            env = {**variables(_environment(found).get("PATH", PATH))}
            contexts.write(
                directory,
                contexts.Plan(
                    base=base,
                    parts=parts,
                    variables=env,
                    labels=labels(recipe, found.digest),
                    command=command(recipe, python.path),
                    port=PORT,
                    user=USER,
                    workdir=f"/{RELEASE}",
                ),
            )

    def export(self, digest: release.Digest, output: pathlib.Path) -> None:
        """See ports.images.ImageBuilder.export."""
        listed = next((each for each in self._store.index() if each["digest"] == digest.value), None)
        if listed is None:
            raise errors.InvariantError(f"There is no image {digest.short} to export.")
        is_tar = output.suffix == ".tar"
        with store.disk_errors(output.parent):
            output.parent.mkdir(parents=True, exist_ok=True)
        if not is_tar:
            self._copy(digest, listed, output)
            return
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".exporting-") as scratch:
            self._copy(digest, listed, pathlib.Path(scratch) / "layout")
            unfinished = pathlib.Path(scratch) / output.name
            with store.disk_errors(output.parent), unfinished.open("wb") as file:
                entries = tarring.tree(pathlib.Path(scratch) / "layout", "", skip=lambda name: name.startswith("."))
                tarring.write(file, entries)
            unfinished.rename(output)

    def _copy(self, digest: release.Digest, listed: dict[str, Any], output: pathlib.Path) -> None:
        target = store.Store(output)
        for blob, _ in store.blobs_of(self._store.read, digest):
            target.copy_blob(self._store.path(blob), blob)
        target.list(listed)

    def _layer(self, name: str, entries: list[tarring.Entry], recipe: images.Recipe) -> images.Layer:
        return self._store.layer(name, entries, recipe.compression)

    def _dependencies(self, recipe: images.Recipe, python: bases.Python) -> tuple[images.Layer, str, tuple[str, ...]]:
        """The layer, a note, and what is in it. Not even unpacked again when the layout has what the memory names."""
        requirements, note = packages.resolve(
            recipe.lock,
            recipe.packages,
            python=python.version,
            architecture=recipe.architecture,
            memory=self._memory,
        )
        listed = packages.versions(requirements)
        asked = [_RECIPE, requirements, python.path, recipe.architecture, recipe.compression, zlib.ZLIB_RUNTIME_VERSION]
        kept = self._memory / f"layer-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.json"
        remembered = self._remembered(kept)
        if remembered is not None:
            return remembered, note, listed
        with tempfile.TemporaryDirectory(prefix="softlaunch-image-") as scratch:
            target = pathlib.Path(scratch) / "site"
            packages.install(
                requirements,
                target,
                python=python.version,
                architecture=recipe.architecture,
                interpreter=python.path,
            )
            found = self._layer("dependencies", tarring.tree(target, SITE), recipe)
        document = {
            "digest": found.digest.value,
            "diff_id": found.diff_id.value,
            "size": found.size,
            "media_type": found.media_type,
        }
        unfinished = kept.with_suffix(".writing")
        unfinished.write_text(json.dumps(document))
        unfinished.rename(kept)
        return found, note, listed

    def _remembered(self, kept: pathlib.Path) -> images.Layer | None:
        try:
            found = json.loads(kept.read_bytes())
            layer = images.Layer(
                name="dependencies",
                digest=release.Digest(found["digest"]),
                diff_id=release.Digest(found["diff_id"]),
                size=found["size"],
                media_type=found["media_type"],
            )
            return layer if self._store.path(layer.digest).stat().st_size == layer.size else None
        except (OSError, ValueError, KeyError, errors.InvariantError):  # a memory, not a record
            return None


def interpreter(directory: pathlib.Path) -> list[tarring.Entry]:
    """The files of a relocatable Python in the image."""
    return tarring.tree(directory, bases.INTERPRETER)


def server(python: str) -> list[tarring.Entry]:
    """Our model server in the image, and the interpreter under the names that commands call it by."""
    package = pathlib.Path(softlaunch.__file__).parent
    found = [tarring.Entry(name=f"{TOP}/bin/{name}", mode=0o777, link=python) for name in ("python", "python3")]
    for name in _SERVED:
        path = package / name
        if path.is_dir():
            found += tarring.tree(path, f"{SERVER}/softlaunch/{name}", skip=_is_compiled)
        else:
            found.append(tarring.Entry(name=f"{SERVER}/softlaunch/{name}", mode=0o644, source=path))
    return found


def model(directory: pathlib.Path) -> list[tarring.Entry]:
    """The release's model in the image. Its path names no release, so that the next release has the same layer."""
    top = directory / "model"
    return tarring.tree(top, f"{RELEASE}/model") if top.is_dir() else []


def code(directory: pathlib.Path) -> list[tarring.Entry]:
    """Everything else of the release."""

    def is_elsewhere(relative: str) -> bool:
        return relative.partition("/")[0] == "model" or _is_compiled(relative)

    return tarring.tree(directory, RELEASE, skip=is_elsewhere)


def _is_compiled(relative: str) -> bool:
    return relative.rpartition("/")[2] == "__pycache__"


def command(recipe: images.Recipe, python: str) -> list[str]:
    """What the container runs."""
    return [
        python,
        "-m",
        "softlaunch.serving",
        "--release",
        f"/{RELEASE}",
        "--digest",
        recipe.release.value,
        "--listen",
        "0.0.0.0:$PORT",
    ]


def variables(path: str) -> dict[str, str]:
    """Environment of the container."""
    return {
        "PATH": f"/{SITE}/bin:/{TOP}/bin:{path}",
        "PORT": str(PORT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"/{SITE}:/{SERVER}",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def labels(recipe: images.Recipe, base: release.Digest | None) -> dict[str, str]:
    """
    What is known of the image by its content alone.

    Neither commit nor time: two commits of one content are one release, and shall be one image.
    """
    found = {
        "dev.softlaunch.release": recipe.release.value,
        "dev.softlaunch.service": recipe.service,
        "dev.softlaunch.version": softlaunch.__version__,
        "org.opencontainers.image.title": recipe.service,
        "org.opencontainers.image.version": recipe.release.short,
    }
    if base is not None:
        found["org.opencontainers.image.base.digest"] = base.value
    return found


def _version_note(python: bases.Python) -> str:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python.version == own:
        return ""
    return f"the image runs Python {python.version}; releases are built and tested with {own} here"


def _environment(base: bases.Opened) -> dict[str, str]:
    return dict(each.partition("=")[::2] for each in (base.config.get("config") or {}).get("Env") or ())


def _python(recipe: images.Recipe, found: bases.Python | None) -> bases.Python:
    if recipe.interpreter is not None:
        return bases.interpreter_python(recipe.interpreter)
    if found is None:
        raise errors.ConfigError(
            "The base has no Python: no python3.N in /usr/local/bin or /usr/bin.",
            remedy="Name a base that has one, or a relocatable Python with --python DIR.",
            code=errors.Code.IMAGE_BASE,
        )
    return found


def _config(
    recipe: images.Recipe,
    base: bases.Opened,
    layers: list[images.Layer],
    python: bases.Python,
    listed: tuple[str, ...],
) -> dict[str, Any]:
    inherited = dict(base.config.get("config") or {})
    env = _environment(base)
    env |= variables(env.get("PATH", PATH))
    history = [each for each in base.config.get("history") or () if isinstance(each, dict)]
    if sum(not each.get("empty_layer", False) for each in history) != len(base.layers):
        history = [{"created": EPOCH, "created_by": "base"} for _ in base.layers]
    comments = {"dependencies": " ".join(listed)}
    history += [
        {"created": EPOCH, "created_by": f"softlaunch {layer.name}", "comment": comments.get(layer.name, "")}
        for layer in layers[len(base.layers) :]
    ]
    return {
        "architecture": recipe.architecture,
        **({"variant": base.config["variant"]} if "variant" in base.config else {}),
        "os": "linux",
        "created": EPOCH,
        "config": {
            "Cmd": [],
            "Entrypoint": command(recipe, python.path),
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Labels": {**(inherited.get("Labels") or {}), **labels(recipe, base.digest)},
            "StopSignal": "SIGTERM",
            "User": USER,
            "WorkingDir": f"/{RELEASE}",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id.value for layer in layers]},
        "history": history,
    }


def _manifest(
    recipe: images.Recipe,
    base: bases.Opened,
    layers: list[images.Layer],
    config: release.Digest,
    stored: store.Store,
) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": store.MANIFEST,
        "config": {
            "mediaType": store.CONFIG,
            "digest": config.value,
            "size": stored.path(config).stat().st_size,
        },
        "layers": [
            {"mediaType": layer.media_type, "digest": layer.digest.value, "size": layer.size} for layer in layers
        ],
        "annotations": labels(recipe, base.digest),
    }
