"""
Where the log's tables are: below HOME/log, or below a URL of an object store (s3://, gs://, az://).

Credentials and endpoints come from the variables each cloud's own tools read, or from the machine's identity there;
none is kept or told of. What belongs to one home (locks, notes, what was set aside) is below HOME/log in either case.

Tried with deltalake 1.6.6: a commit to S3 is a conditional put, so of two at once one is refused, without any other
service. DuckDB would have to download an extension to read S3; here it reads through deltalake's own client.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

import deltalake
import deltalake.exceptions
import deltalake.fs
import duckdb
import pyarrow.fs

from softlaunch import errors
from softlaunch.adapters.lake import protocols

_AZURE = "az"
_PATIENCE = {"max_retries": "3", "retry_timeout": "15s", "timeout": "60s", "connect_timeout": "5s"}
"""Of the library, whose own is three minutes a request: a shipper has other tables to turn to, and comes again."""
_LOCAL_REMEDY = "Check the disk and the folder; what is spooled waits, and is moved when it can be."
_REMOTE_REMEDY = (
    "Check SOFTLAUNCH_LOG_URL, the endpoint (AWS_ENDPOINT_URL) and the credentials in the environment of whoever wrote "
    "this; what is spooled waits, and is moved when it can be."
)
_REASONS = (
    (r"NoSuchBucket|ContainerNotFound|bucket does not exist", "there is no such bucket"),
    (r"ExpiredToken|token (has|is) expired|TokenRefreshRequired", "the credentials have expired"),
    (r"169\.254\.\d|metadata\.google|IMDS|imds", "there are no credentials"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthenticationFailed|\b401 Unauthorized",
        "the credentials are not accepted",
    ),
    (r"AccessDenied|AuthorizationFailure|\b403 Forbidden", "access is denied"),
    (r"scheme is not allowed", "plain http is allowed to this very machine only, or where AWS_ALLOW_HTTP is true"),
    (r"timed out|timeout: |Timeout", "the server does not answer in time"),
    (r"error sending request|tcp connect|dns error|onnection refused|onnection reset", "the server cannot be reached"),
)
"""What the library says holds whole answers and, with Azure, signed addresses; so none of it is told on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Of one table, which need not exist."""

    folder: pathlib.Path
    """HOME/log/SERVICE."""
    name: str
    """Of the table: `predictions` or `labels`."""
    url: str | None = None
    """Of the service's tables; None: they are in the folder."""

    def __str__(self) -> str:
        """As people are told it."""
        return str(self.folder / self.name) if self.url is None else f"{self.url}/{self.name}"

    @property
    def uri(self) -> str:
        """As deltalake takes it."""
        return str(self.folder / self.name) if self.url is None else f"{_library_url(self.url)}/{self.name}"

    @property
    def storage_options(self) -> dict[str, str] | None:
        """As deltalake takes them."""
        return None if self.url is None else _options(self.url)

    @property
    def directory(self) -> str:
        """What DuckDB may reach, if it is to reach nothing else."""
        return self.uri if self.url is None else f"{self._protocol}://{self.name}"

    def load(self, *, writes: bool = False) -> deltalake.DeltaTable | None:
        """
        The table as it is now; None: it is not there, or its creator was killed before the first commit.

        Args:
            writes: It is to be written too.

        Raises:
            UnavailableError: a newer program has written it.
            DeltaError, OSError: see `unavailable`.
        """
        if self.url is None:
            for path in (self.folder, self.folder / self.name):
                if path.exists() and not path.is_dir():
                    raise NotADirectoryError(f"{path} is no directory")
            if not (self.folder / self.name / "_delta_log").is_dir():
                return None
        try:
            with protocols.known(str(self)):
                table = deltalake.DeltaTable(self.uri, storage_options=self.storage_options)
        except deltalake.exceptions.TableNotFoundError:
            return None
        protocols.check(table, str(self), writes=writes)
        return table

    def begin(self) -> None:
        """
        Call it before the table is created: makes the folders.

        Raises:
            UnavailableError: a table was there, and is gone from its object store.
        """
        folder = self.folder if self.url is not None else self.folder / self.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.url is not None and self._noted() == str(self):
            raise errors.UnavailableError(
                f"The prediction log {self} was there, and is gone.",
                remedy=f"Bring it back. To begin a new one with what is still spooled, delete {self._note}.",
                code=errors.Code.LOG_UNAVAILABLE,
            )

    def settle(self) -> None:
        """Call it when rows were added: notes beside the locks that the table is there; see `begin`."""
        if self.url is not None and self._noted() != str(self):
            self._note.write_text(str(self), encoding="utf-8")

    def readable(self, connection: duckdb.DuckDBPyConnection, table: deltalake.DeltaTable) -> None:
        """
        Lets a database of DuckDB read the table's files under the names that `names` gives.

        Raises:
            ConfigError: it is in an object store, and what reads those is not installed.
        """
        if self.url is None:
            return
        try:
            from softlaunch.adapters.lake import remote  # noqa: PLC0415 - an extra: most logs are in no bucket
        except ImportError as error:
            raise errors.ConfigError(
                f"{self} lies in an object store, and this softlaunch was installed without what reads those.",
                remedy="Install softlaunch[objects].",
                code=errors.Code.LOG_QUERY,
            ) from error
        handler = deltalake.fs.DeltaStorageHandler(_library_url(self.url), _options(self.url))
        adds: Any = table.get_add_actions()
        columns = {name: adds.column(name).to_pylist() for name in ("path", "size_bytes")}
        sizes = {
            f"{self.name}/{urllib.parse.unquote(path)}": int(size)
            for path, size in zip(columns["path"], columns["size_bytes"], strict=True)
        }
        connection.register_filesystem(remote.Files(self._protocol, pyarrow.fs.PyFileSystem(handler), sizes))

    def names(self, uris: Iterable[str]) -> list[str]:
        """What DuckDB calls files of the table, given as deltalake does."""
        if self.url is None:
            return list(uris)
        start = len(self.uri)
        return [self.directory + uri[start:] for uri in uris]

    def unavailable(self, error: Exception, *, doing: str = "used") -> errors.UnavailableError:
        """What deltalake or DuckDB said, in words that hold no secret."""
        return errors.UnavailableError(
            f"The prediction log {self} cannot be {doing}: {error if self.url is None else reason(error)}.",
            remedy=_LOCAL_REMEDY if self.url is None else _REMOTE_REMEDY,
            code=errors.Code.LOG_UNAVAILABLE,
        )

    @property
    def _protocol(self) -> str:
        return f"lake{self.name}"

    @property
    def _note(self) -> pathlib.Path:
        return self.folder / f"{self.name}.url"

    def _noted(self) -> str:
        try:
            return self._note.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Root:
    """Of all services' tables."""

    folder: pathlib.Path
    """HOME/log."""
    url: str | None = None
    """Without a slash at its end; None: the tables are in the folder."""

    def place(self, service: str, name: str) -> Place:
        """Of a service's table."""
        return Place(folder=self.folder / service, name=name, url=self.url and f"{self.url}/{service}")

    def services(self, name: str) -> list[str]:
        """
        Those with such a table.

        Raises:
            UnavailableError: the object store does not tell.
        """
        if self.url is None:
            return sorted(path.parent.name for path in self.folder.glob(f"*/{name}"))
        try:
            handler = deltalake.fs.DeltaStorageHandler(_library_url(self.url), _options(self.url))
            listed = pyarrow.fs.PyFileSystem(handler).get_file_info(pyarrow.fs.FileSelector("", allow_not_found=True))
            found = [each.base_name for each in listed if each.type == pyarrow.fs.FileType.Directory]
            places = {service: self.place(service, name) for service in sorted(found)}
            return [
                service
                for service, place in places.items()
                if deltalake.DeltaTable.is_deltatable(place.uri, place.storage_options)
            ]
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise self.place("*", name).unavailable(error, doing="listed") from error


def root(where: pathlib.Path | Root) -> Root:
    """A folder stands for the tables in it."""
    return where if isinstance(where, Root) else Root(folder=where)


def at(where: pathlib.Path | Place) -> Place:
    """A path stands for the table at it."""
    return where if isinstance(where, Place) else Place(folder=where.parent, name=where.name)


def reason(error: Exception) -> str:
    """Why an object store could not be used, in words that hold no secret."""
    text = str(error)
    for pattern, words in _REASONS:
        if re.search(pattern, text):
            return words
    status = re.search(r"\b([45]\d\d) [A-Z][A-Za-z ]+", text)
    if status:
        return f"the server answers {status[0].strip()}"
    return re.split(r"https?://|[\n<?]", text)[0].strip(" .:")[:200] or type(error).__name__


def is_refusal(error: Exception) -> bool:
    """DuckDB's error comes from an object store, not from the query."""
    return bool(re.search(r"Generic (S3|GCS|MicrosoftAzure) error|Object at location", str(error)))


def _library_url(url: str) -> str:
    """az://ACCOUNT/CONTAINER/... without the account, which is an option there."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[2]}" if scheme == _AZURE else url


def _options(url: str) -> dict[str, str]:
    scheme, _, rest = url.partition("://")
    if scheme == _AZURE:
        return _PATIENCE | {"azure_storage_account_name": rest.partition("/")[0]}
    if scheme != "s3":
        return dict(_PATIENCE)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"true", "1"} or _is_loopback(endpoint)
    # Unsafe renames would let the second of two writers replace what the first has committed.
    options = _PATIENCE | {"aws_conditional_put": "etag", "aws_s3_allow_unsafe_rename": "false"}
    return options | ({"aws_endpoint_url": endpoint} if endpoint else {}) | {"allow_http": str(plain).lower()}


def _is_loopback(endpoint: str) -> bool:
    host = urllib.parse.urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
