"""
What a release is made of besides its commit, and how each of it is pinned in softlaunch.lock.

A model, a reference and a holdout are each named in softlaunch.yaml by a path or a URL. What a path stands for is told
by the commit: the file itself, a Git LFS pointer, or a .dvc file beside it.
"""

from __future__ import annotations

import dataclasses
import enum
import posixpath
import urllib.parse
from collections.abc import Mapping

from softlaunch.core import spec

OBJECT_SCHEMES = ("s3", "gs", "az")
"""Buckets of S3 and what speaks like it, of Google Cloud Storage, and containers of Azure."""
URL_SCHEMES = ("http", "https", *OBJECT_SCHEMES)


class Role(enum.StrEnum):
    MODEL = "model"
    REFERENCE = "reference"
    HOLDOUT = "holdout"


class Kind(enum.StrEnum):
    """Where the bytes are. The word before the colon of a pin's URI, but for URLs and models:/."""

    GIT = "git"
    LFS = "lfs"
    DVC = "dvc"
    URL = "url"
    MLFLOW = "mlflow"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pin:
    """What a name stood for when somebody looked."""

    uri: str
    version: str
    """As the place it lies at calls it: a version of a registry, a version or ETag of an object, a digest; or empty."""
    sha256: str
    """Of the file; of a directory the digest of names, kinds and bytes of its files. In hex."""


def kind(uri: str) -> Kind:
    """The kind of a pin's URI."""
    if uri.startswith("models:/"):
        return Kind.MLFLOW
    scheme = uri.partition(":")[0]
    return Kind(scheme) if scheme in (Kind.GIT, Kind.LFS, Kind.DVC) else Kind.URL


def is_url(text: str) -> bool:
    """It is fetched, and no path inside the repository."""
    return text.partition("://")[0] in URL_SCHEMES and "://" in text


def file_name(url: str) -> str:
    """The last part of a URL's path."""
    return posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))


def names(service: spec.ServiceSpec) -> Mapping[Role, str]:
    """Path, URL or models:/ of everything that can be pinned; not a model that training or a class makes."""
    model = service.model
    found = {}
    if model.source is not spec.ModelSource.TRAIN:
        found[Role.MODEL] = model.url or model.mlflow_uri or model.path
    found[Role.REFERENCE] = service.reference
    quality = service.tests.quality if service.tests is not None else None
    found[Role.HOLDOUT] = quality.data if quality is not None else None
    return {role: name for role, name in found.items() if name is not None}
