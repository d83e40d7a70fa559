"""Container images of releases: made without a daemon, carried between an OCI layout and registries."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from collections.abc import Mapping
from typing import Protocol

from softlaunch.core import release


class BaseKind(enum.StrEnum):
    LAYOUT = "layout"
    """An OCI image layout directory."""
    ROOTFS = "rootfs"
    """A directory that becomes the image's first layer, such as debootstrap makes."""


class Compression(enum.StrEnum):
    GZIP = "gzip"
    NONE = "none"
    """For the same bytes whatever zlib a machine has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    kind: BaseKind
    directory: pathlib.Path
    digest: release.Digest | None = None
    """Of a layout: which of its images; None when it holds one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that an image depends on, but for softlaunch's own code and versions."""

    service: str
    release: release.Digest
    directory: pathlib.Path
    """The unpacked release."""
    base: Base
    interpreter: pathlib.Path | None
    """A relocatable Python that is put into the image; None: the base has one."""
    lock: bytes | None
    """The release's own requirements."""
    packages: tuple[str, ...]
    """Names that serving needs beside them: in the lock's versions, else in softlaunch's own."""
    architecture: str
    """As OCI spells it: amd64, arm64."""
    compression: Compression = Compression.GZIP


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    name: str
    """base, interpreter, dependencies, server, model or code."""
    digest: release.Digest
    diff_id: release.Digest
    """Of the uncompressed bytes."""
    size: int
    media_type: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    digest: release.Digest
    """Of the manifest: what it is pulled and run by."""
    config_digest: release.Digest
    layers: tuple[Layer, ...]
    python: str
    """Path of the interpreter inside of it."""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all layers, as sent."""
        return sum(layer.size for layer in self.layers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """An image in a layout."""

    digest: release.Digest
    annotations: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of an image by its bytes."""

    digest: release.Digest
    service: str
    release: release.Digest
    architecture: str
    command: tuple[str, ...]
    variables: Mapping[str, str]


class ImageBuilder(Protocol):
    """Makes images in one OCI layout directory; what is in it already is not made again."""

    @property
    def root(self) -> pathlib.Path:
        """The layout's directory."""
        ...

    def build(self, recipe: Recipe, annotations: Mapping[str, str]) -> Image:
        """
        Makes the image and lists it in the layout, with annotations that are no part of its digest.

        Raises:
            ConfigError: base, interpreter or packages cannot be used.
            UnavailableError: disk or network.
        """
        ...

    def listed(self) -> tuple[Stored, ...]:
        """Every image of the layout, the oldest first."""
        ...

    def describe(self, digest: release.Digest) -> Description:
        """
        An image of the layout, read again.

        Raises:
            UnavailableError: its bytes are not what they are named for.
        """
        ...

    def context(self, recipe: Recipe, directory: pathlib.Path, base: str) -> None:
        """Writes a Dockerfile and what it copies, for a tool of the user's; `base` stands after FROM."""
        ...

    def export(self, digest: release.Digest, output: pathlib.Path) -> None:
        """Copies one image into an OCI layout directory, or into a tar file of one when the name ends with .tar."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    digest: release.Digest
    sent_bytes: int
    present_bytes: int
    """Of blobs that the registry had already."""


class Transport(Protocol):
    """Between a layout directory and registries."""

    def fetch(self, reference: str, layout: pathlib.Path, *, architecture: str) -> release.Digest:
        """
        Copies an image of a registry into the layout; of an index, the manifest of linux/architecture.

        Raises:
            ConfigError: no such image, or no right to read it.
            UnavailableError: the registry does not answer.
        """
        ...

    def send(self, layout: pathlib.Path, digest: release.Digest, reference: str) -> Sent:
        """
        Copies an image of the layout to a registry; blobs that are there are not sent again.

        Raises:
            ConfigError: no right to write there.
            UnavailableError: the registry does not answer, or refuses.
        """
        ...


class BuildTool(Protocol):
    """A program of the user's that builds images from a Dockerfile."""

    def check(self, tool: str) -> None:
        """
        Returns when the tool can be run.

        Raises:
            ConfigError: it is none of buildah, docker and kaniko, or not installed.
        """
        ...

    def run(self, tool: str, context: pathlib.Path, tag: str) -> None:
        """
        Builds the context with buildah, docker or kaniko.

        Raises:
            ConfigError: as check.
            UnavailableError: it failed.
        """
        ...
