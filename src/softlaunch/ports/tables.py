"""Tables of rows in files: reference and holdout data."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from softlaunch.core import release

if TYPE_CHECKING:  # half of what `softlaunch verify` costs beside its hashing
    import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableColumn:
    name: str
    datatype: release.Datatype
    values: np.ndarray[Any, Any]
    """As core.predictions.Columns: NaN or None where missing; integers and bools with missing values are float64."""
    missing: np.ndarray[Any, Any]
    """Bool, shape [N]."""

    @property
    def nullable(self) -> bool:
        """Some value is missing."""
        return bool(self.missing.any())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    columns: tuple[TableColumn, ...]
    row_count: int
    unusable: tuple[str, ...] = ()
    """Columns of kinds that can be no feature (lists, times), left out."""
    unusable_missing: Mapping[str, np.ndarray[Any, Any]] = dataclasses.field(default_factory=dict)
    """Which of their values are missing; bool, shape [N]."""

    def column(self, name: str) -> TableColumn | None:
        """The column of that name, None when there is none."""
        return next((found for found in self.columns if found.name == name), None)


class Tables(Protocol):
    def read(self, path: pathlib.Path) -> Table:
        """
        The whole file (.parquet, .csv).

        Raises:
            ConfigError: it is absent, of another kind, or broken.
        """
        ...
