"""
What other programs may have made of a table, and whether we still read and write it rightly.

The answer to a query is read from the table's files as they are (adapters.lake.asking). With a feature like deletion
vectors, files hold rows that the table does not: a table with a feature that is not known here is refused, not misread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import deltalake
import deltalake.exceptions

from softlaunch import errors

READER_VERSION, WRITER_VERSION = 1, 4
"""The last ones that change no row of ours; 3 and 7 say that features are named."""
_HARMLESS = frozenset(
    {
        "appendOnly", "changeDataFeed", "checkConstraints", "domainMetadata", "generatedColumns", "inCommitTimestamp",
        "invariants", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck",
    }
)  # fmt: skip
"""Features that change no row of ours."""


def check(table: deltalake.DeltaTable, name: str, *, writes: bool = False) -> None:
    """
    Raises:
        UnavailableError: the table is of a version, or has a feature, that is not known here.
    """
    found = table.protocol()
    named = set(found.reader_features or ()) | (set(found.writer_features or ()) if writes else set())
    unknown = sorted(named - _HARMLESS)
    if unknown:
        raise refused(name, f"has the Delta feature {', '.join(unknown)}")
    if found.min_reader_version not in {READER_VERSION, 3}:
        raise refused(name, f"needs Delta reader version {found.min_reader_version}, {READER_VERSION} is known here")
    if writes and found.min_writer_version > WRITER_VERSION and found.min_writer_version != 7:
        raise refused(name, f"needs Delta writer version {found.min_writer_version}, {WRITER_VERSION} is known here")


@contextlib.contextmanager
def known(name: str) -> Iterator[None]:
    """
    Inside, a table is loaded that may be of a newer kind.

    Raises:
        UnavailableError: it is.
    """
    try:
        yield
    except deltalake.exceptions.TableNotFoundError:
        raise
    except deltalake.exceptions.DeltaError as error:
        if "unsupported" in str(error).lower():
            raise refused(name, f"cannot be read here ({error})") from error
        raise


def refused(name: str, why: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The prediction log {name} {why}: a newer program has written it.",
        remedy="Upgrade softlaunch, or let that program set the table back; until then records wait in the spool.",
        code=errors.Code.LOG_UNAVAILABLE,
    )
