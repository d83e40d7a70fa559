"""
People: who may use the control plane under a name of their own.

A named token is a person: whatever comes with it was done by that name, whatever else the request says. Only the
SHA-256 of a token is kept. (A fast hash is enough: a token has 256 random bits, nobody tries them all.) The token of
control.json is the owner's; who holds it could change every file of the home anyway.
"""

from __future__ import annotations

import dataclasses
import getpass
import hashlib
import hmac
import json
import os
import pathlib
import re
import secrets
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.controller import private_file

PREFIX = "softlaunch_"
"""Of every token, so that scanners for leaked secrets can know one."""
RESERVED = frozenset({"softlaunch", "webhook"})
"""Names that histories and pins show for what no person did."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_TOKEN_BYTES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    name: str
    sha256: str
    """Of the token, hexadecimal."""
    created_at: float


class People:
    """
    The people of one home, in one file that only its owner can read.

    Several processes may use it at a time: the command line changes it, the control plane sees every change.

    Args:
        path: HOME/people.json; need not exist.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._known: tuple[Person, ...] = ()

    def add(self, name: str, *, now: float) -> str:
        """
        A new token for a new person. It is told here and never again.

        Raises:
            ConfigError: not a name, or one that is reserved.
            ConflictError: there is somebody of that name.
            UnavailableError: it cannot be written down.
        """
        if not _NAME.fullmatch(name) or name.lower() in RESERVED:
            raise errors.ConfigError(
                f"{name!r} is no name for a person.",
                remedy="Use up to 64 letters, digits and . _ @ + -; "
                f"{' and '.join(sorted(RESERVED))} stand for what no person did.",
                code=errors.Code.PERSON_NAME,
            )
        with private_file.changing(self._path):
            known = self.everybody()
            if any(person.name == name for person in known):
                raise errors.ConflictError(
                    f"{name} has a token already.",
                    remedy=f"Take it away first if it was lost: `softlaunch token remove {name}`.",
                    code=errors.Code.PERSON_EXISTS,
                )
            token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
            self._write((*known, Person(name=name, sha256=_digest(token), created_at=now)))
        return token

    def remove(self, name: str) -> None:
        """
        Takes a person's token away, from the next request on.

        Raises:
            ConfigError: there is nobody of that name.
            UnavailableError: it cannot be written down.
        """
        with private_file.changing(self._path):
            known = self.everybody()
            left = tuple(person for person in known if person.name != name)
            if left == known:
                raise errors.ConfigError(
                    f"There is no token of {name!r}.",
                    remedy="`softlaunch token list` names everybody who has one.",
                    code=errors.Code.NO_PERSON,
                )
            self._write(left)

    def everybody(self) -> Sequence[Person]:
        """
        Everybody who has a token, as they were added.

        Raises:
            ConfigError: the file is not ours, not private or not readable.
        """
        raw = private_file.read(self._path)
        if raw is None:
            return ()
        try:
            return tuple(Person(**entry) for entry in json.loads(raw)["people"])
        except (ValueError, KeyError, TypeError) as error:
            raise errors.ConfigError(
                f"{self._path} is not what softlaunch wrote.",
                remedy="Restore it, or remove it and make everybody a new token.",
                code=errors.Code.PRIVATE_FILE,
            ) from error

    def whose(self, token: str) -> str | None:
        """
        The name of the person with this token; None when nobody has it.

        Raises:
            ConfigError: the file is not ours, not private or not readable.
        """
        try:
            found = self._path.stat()
        except OSError:
            return None
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._seen:
            self._known, self._seen = tuple(self.everybody()), version
        digest = _digest(token)
        matching = [person.name for person in self._known if hmac.compare_digest(person.sha256, digest)]
        return matching[0] if matching else None

    def _write(self, people: Sequence[Person]) -> None:
        document = {"people": [dataclasses.asdict(person) for person in people]}
        private_file.write(self._path, json.dumps(document, indent=2).encode() + b"\n")


def nobody(_token: str) -> None:
    """A control plane that knows its owner only."""
    return


def local_user() -> str:
    """Who runs this process: the name under which the owner of a home acts."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user-{os.geteuid()}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
