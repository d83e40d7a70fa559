"""
Keys of a home: NAME.key signs and is for its owner's eyes only, NAME.pub is trusted.

A passphrase is never kept: the file names the environment variable that holds it, in a line above the PEM block.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

from softlaunch import errors
from softlaunch.adapters.signing import primitives
from softlaunch.controller import private_file
from softlaunch.ports import signing

DEFAULT = "release"
"""Name of the key that signs when there are several."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_HEADER = b"passphrase-env: "
_BEGIN = b"-----BEGIN"
_PUBLIC_BYTES_MAX = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    public: signing.PublicKey
    signs: bool
    """The private half is here."""
    passphrase_variable: str = ""


class KeyDirectory:
    """
    See ports.signing.Keys.

    Args:
        directory: HOME/keys; created with the first key.
        variables: Where passphrases are looked up.
    """

    def __init__(self, directory: pathlib.Path, variables: Mapping[str, str]) -> None:
        self._directory = directory
        self._variables = variables

    def new(self, name: str, *, elliptic: bool = False, passphrase_variable: str = "") -> signing.PublicKey:
        """
        Makes a key.

        Raises:
            ConfigError: not a name, or the variable of the passphrase is not set.
            ConflictError: there is one of that name.
            UnavailableError: it cannot be written.
        """
        return self._keep(name, primitives.generate(elliptic=elliptic), passphrase_variable)

    def add(self, name: str, raw: bytes, *, passphrase_variable: str = "") -> signing.PublicKey:
        """
        Keeps a key that was made elsewhere, private or public.

        Raises:
            ConfigError: not a name, or not a key that is supported.
            ConflictError: there is one of that name.
            UnavailableError: it cannot be written.
        """
        if b"PRIVATE KEY" in raw:
            key = primitives.load_private(raw, name, self._passphrase(passphrase_variable))
            return self._keep(name, key, passphrase_variable)
        public = primitives.load_public(raw, name)
        self._prepare(name)
        private_file.write(self._directory / f"{name}.pub", public.pem)
        return public

    def kept(self) -> Sequence[Kept]:
        """Every key, by name; no passphrase is asked for."""
        found = []
        for path in sorted(self._directory.glob("*.pub")):
            private = private_file.read(path.with_suffix(".key"))
            variable, _ = _split(private or b"")
            public = primitives.load_public(_public(path), path.stem)
            found.append(Kept(public=public, signs=private is not None, passphrase_variable=variable))
        return tuple(found)

    def signer(self) -> signing.Signer | None:
        """See ports.signing.Keys.signer; the key named `release`, or the only one."""
        found = sorted(self._directory.glob("*.key"))
        names = [path.stem for path in found]
        if not names:
            return None
        if len(names) > 1 and DEFAULT not in names:
            raise errors.ConfigError(
                f"There are several keys and none is named {DEFAULT!r}: {', '.join(names)}.",
                remedy=f"Keep the one that signs under the name {DEFAULT}: `softlaunch key import FILE`.",
                code=errors.Code.NO_KEY,
            )
        return self.signer_named(DEFAULT if DEFAULT in names else names[0])

    def signer_named(self, name: str) -> signing.Signer:
        """
        The signer of that name.

        Raises:
            ConfigError: there is none, or it cannot be unlocked.
        """
        raw = private_file.read(self._directory / f"{name}.key") if _NAME.fullmatch(name) else None
        if raw is None:
            raise _absent(name)
        variable, pem = _split(raw)
        key = primitives.load_private(pem, name, self._passphrase(variable))
        return primitives.Signer(key, primitives.public_of(key, name))

    def trusted(self, names: Sequence[str] = ()) -> Sequence[signing.PublicKey]:
        """See ports.signing.Keys.trusted."""
        if not names:
            return tuple(each.public for each in self.kept())
        return tuple(self._named(name) for name in names)

    def _named(self, name: str) -> signing.PublicKey:
        own = self._directory / f"{name.removesuffix('.pub')}.pub"
        path = own if _NAME.fullmatch(name) and own.is_file() else pathlib.Path(name).expanduser()
        if not path.is_file():
            raise _absent(name)
        return primitives.load_public(_public(path), path.stem)

    def _keep(self, name: str, key: primitives.PrivateKey, variable: str) -> signing.PublicKey:
        passphrase = self._passphrase(variable)
        self._prepare(name)
        header = _HEADER + variable.encode() + b"\n" if variable else b""
        public = primitives.public_of(key, name)
        private_file.write(self._directory / f"{name}.key", header + primitives.private_pem(key, passphrase))
        private_file.write(self._directory / f"{name}.pub", public.pem)
        return public

    def _prepare(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise errors.ConfigError(
                f"{name!r} cannot name a key.",
                remedy="Use up to 64 letters, digits and . _ -.",
                code=errors.Code.KEY_NAME,
            )
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise errors.UnavailableError(
                f"{self._directory} cannot be created: {error.strerror or error}.",
                remedy="Check the disk and who may write there.",
                code=errors.Code.HOME_UNUSABLE,
            ) from error
        if (self._directory / f"{name}.pub").exists() or (self._directory / f"{name}.key").exists():
            raise errors.ConflictError(
                f"There is a key {name!r} already.",
                remedy="Give this one another name with --name; what the old one signed needs it to verify.",
                code=errors.Code.KEY_EXISTS,
            )

    def _passphrase(self, variable: str) -> bytes | None:
        if not variable:
            return None
        if not _VARIABLE.fullmatch(variable) or not self._variables.get(variable):
            raise errors.ConfigError(
                f"The environment variable {variable!r} with a key's passphrase is not set.",
                remedy="Set it where softlaunch runs, or name another with --passphrase-env.",
                code=errors.Code.KEY_LOCKED,
            )
        return self._variables[variable].encode()


def _split(raw: bytes) -> tuple[str, bytes]:
    """The variable of the passphrase, and the PEM block."""
    start = max(raw.find(_BEGIN), 0)
    header = raw[:start].strip()
    return header.removeprefix(_HEADER.strip()).strip().decode(errors="replace"), raw[start:]


def _public(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PUBLIC_BYTES_MAX)
    except OSError as error:
        raise primitives.unreadable(str(path)) from error


def _absent(name: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"There is no key {name!r}.",
        remedy="`softlaunch key list` names those of this home; others are given as the path of a PEM file.",
        code=errors.Code.NO_KEY,
    )
