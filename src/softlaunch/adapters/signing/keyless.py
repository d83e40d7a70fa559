"""
Signing without a key of one's own: a certificate for ten minutes, for whoever an OpenID provider says signs.

By Sigstore's own library: it makes a key that is never written, has Fulcio certify it for the identity in the token,
signs, and has Rekor log the signature (and a timestamp authority date it, where the configuration names one). What
comes back is verified here before anybody gets it.

A token is a secret: it goes to Fulcio and nowhere else, and no error repeats it.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.adapters.signing import sigstore_bundles
from softlaunch.core import dsse_types, identities

TOKEN_VARIABLE = "SIGSTORE_ID_TOKEN"  # noqa: S105 - the name of a variable, cosign's and GitLab's
TOKEN_FILE_VARIABLE = "SIGSTORE_ID_TOKEN_FILE"  # noqa: S105 - likewise
_OFFERED = (TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
"""Somebody means the job to sign."""
TOKEN_BYTES_MAX = 64 << 10
_PUBLIC_CONFIG = (sigstore_bundles.PUBLIC_ROOT[0], "signing_config.v0.2.json")
_REMEDY = (
    "Give the job `id-token: write` (GitHub) or an id_token for the audience sigstore (GitLab), or put a token into "
    f"{TOKEN_VARIABLE} or a file named by {TOKEN_FILE_VARIABLE}; a person signs at a terminal, with a browser."
)
_NOT_THERE = "ID_TOKEN not found"
"""Of the library: a job of GitLab without a token for this audience."""
_CUT = ("body=", "encountered an error:")
"""Behind these the library repeats what a server or program said, which may be a token."""


class Signer:
    """
    See ports.signing.KeylessSigner. Asks for a certificate when it is made.

    Args:
        token: What `token` gave.
        trusted_root: Path of a trusted_root.json; empty: the public Sigstore's.
        signing_config: Path of a signing configuration (which services sign); empty: the public Sigstore's.

    Raises:
        ConfigError: the configuration cannot be read.
        UnavailableError: no certificate is given.
    """

    def __init__(self, token: Any, *, trusted_root: str, signing_config: str) -> None:
        if bool(trusted_root) != bool(signing_config):
            raise errors.ConfigError(
                "Of your own Sigstore both files are needed: its trusted root and its signing configuration.",
                remedy="Name both, or none of them for the public Sigstore.",
                code=errors.Code.TRUSTED_ROOT,
            )
        self.trusted_root = trusted_root
        root = sigstore_bundles.trusted_root_of(trusted_root)
        config = _config(signing_config)
        from sigstore import sign  # noqa: PLC0415 - see sigstore_bundles

        self._token = token
        context = sign.SigningContext(
            fulcio=config.get_fulcio(),
            rekor=config.get_tlogs()[0],
            trusted_root=root,
            tsa_clients=config.get_tsas(),
        )
        with self._service("no certificate was given"):
            self._signer = sign.Signer(self._token, context)
            subject, issuer = sigstore_bundles.identity(self._signer._signing_cert())  # noqa: SLF001 - tests hold it
        self.identity = identities.Identity(issuer=issuer, subject=subject)

    def sign(self, statement: bytes) -> bytes:
        """See ports.signing.KeylessSigner.sign."""
        from sigstore import dsse  # noqa: PLC0415 - see sigstore_bundles

        with self._service("a statement could not be signed"):
            raw: bytes = self._signer.sign_dsse(dsse.Statement(statement)).to_json().encode()
            found = sigstore_bundles.Bundles().read(raw, trusted_root=self.trusted_root)
            if found.payload != statement or not self.identity.matches(found.signer):
                raise dsse_types.MalformedError("it is of another statement or identity")
        return raw

    @contextlib.contextmanager
    def _service(self, what: str) -> Iterator[None]:
        try:
            yield
        except errors.SoftlaunchError:
            raise
        except Exception as error:  # noqa: BLE001 - the library's clients have no common error for their services'
            said = _said(error, str(self._token))
            raise errors.UnavailableError(
                f"Sigstore: {what}: {said}.",
                remedy="Try again; nothing was attached, and the release itself is there.",
                code=errors.Code.SIGSTORE_SERVICE,
            ) from None  # what is chained to it holds the request, and the request the token


def _config(path: str) -> Any:
    from sigstore import models  # noqa: PLC0415 - see sigstore_bundles

    try:
        if path:
            return models.SigningConfig.from_file(str(pathlib.Path(path).expanduser()))
        with importlib.resources.as_file(
            importlib.resources.files("sigstore._store").joinpath(*_PUBLIC_CONFIG)
        ) as embedded:
            return models.SigningConfig.from_file(str(embedded))
    except Exception as error:  # the library lets through what its reader of JSON raises
        raise errors.ConfigError(
            f"{path or 'The signing configuration of the library sigstore'} is no signing configuration: "
            f"{sigstore_bundles.reason(error)}.",
            remedy="Name the signing_config.json (version 0.2) of your Sigstore.",
            code=errors.Code.TRUSTED_ROOT,
        ) from error


def token(environ: Mapping[str, str]) -> Any | None:
    """
    The identity token of the first place that has one: the variable, the file, what the library finds on GitHub,
    GitLab, Buildkite, CircleCI and Google Cloud. None when there is none, and when the job may not have one.

    Raises:
        ConfigError: there is one, and it cannot be had or used, or not without the library that is not installed.
    """
    if not sigstore_bundles.has_library() and not any(environ.get(name) for name in _OFFERED):
        return None  # checks of a proposal have no token, and need not install what signs
    sigstore_bundles.needs_library()
    import id as ambient  # noqa: PLC0415 - comes with the library
    from sigstore import oidc  # noqa: PLC0415 - see sigstore_bundles

    raw = environ.get(TOKEN_VARIABLE, "") or _from_file(environ.get(TOKEN_FILE_VARIABLE, ""))
    try:
        raw = (raw or oidc.detect_credential() or "").strip()
        return oidc.IdentityToken(raw) if raw else None
    except oidc.IdentityError as error:
        cause = error.__cause__
        if not raw and (isinstance(cause, ambient.GitHubOidcPermissionCredentialError) or _NOT_THERE in str(cause)):
            return None
        told = f"{error} ({cause})" if raw and cause is not None else str(error)
        raise _no_token(f"The identity token cannot be used: {_said(told, raw)}.") from None


def token_by_browser(signing_config: str) -> Any:
    """
    The token of a person who logs in.

    Raises:
        ConfigError: nobody does.
    """
    sigstore_bundles.needs_library()
    from sigstore import oidc  # noqa: PLC0415 - see sigstore_bundles

    config = _config(signing_config)
    try:
        return oidc.Issuer(config.get_oidc_url()).identity_token()
    except Exception as error:  # noqa: BLE001 - network, a closed window, an answer that is none: nobody logged in
        raise _no_token(f"Nobody logged in: {_said(error, '')}.") from None


def no_token() -> errors.ConfigError:
    """
    Nothing says who signs.

    Raises:
        ConfigError: and nothing here could sign.
    """
    sigstore_bundles.needs_library()
    return _no_token("There is no identity token to sign with.")


def _from_file(path: str) -> str:
    if not path:
        return ""
    try:
        with pathlib.Path(path).expanduser().open("rb") as file:
            return file.read(TOKEN_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _no_token(f"The token's file {path} cannot be read: {why}.") from None


def _said(error: Exception | str, token: str) -> str:
    """What went wrong, in one line, without the token and without what a server or program printed."""
    text = _of_network(error) or sigstore_bundles.reason(error) if isinstance(error, Exception) else error
    for mark in _CUT:
        text = text.partition(mark)[0].rstrip(" ,(")
    return text.replace(token, "***") if token else text


def _of_network(error: Exception) -> str:
    """Which service was asked and what it answered; empty when that is not what the error is about."""
    cause = error if getattr(error, "request", None) is not None else error.__cause__
    request, response = getattr(cause, "request", None), getattr(cause, "response", None)
    if request is None:
        return ""
    host = urllib.parse.urlsplit(str(request.url)).netloc.rpartition("@")[2]
    return f"{host} answered {response.status_code}" if response is not None else f"{host} cannot be reached"


def _no_token(message: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=_REMEDY, code=errors.Code.NO_IDENTITY_TOKEN)
