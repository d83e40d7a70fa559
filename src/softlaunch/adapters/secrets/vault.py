"""
Secrets of HashiCorp Vault's key-value engine, version 2, over its HTTP API; see ports.secrets.Secrets.

Address and token are Vault's own variables: VAULT_ADDR, VAULT_TOKEN (or the file VAULT_TOKEN_FILE, or ~/.vault-token),
VAULT_NAMESPACE, VAULT_CACERT. They are read each time, so that a renewed token is used without a restart. Redirects
are not followed: they would hand the token to whatever address an answer names.
"""

from __future__ import annotations

import pathlib
import ssl
import urllib.parse
from collections.abc import Mapping

import httpx

from softlaunch import errors
from softlaunch.adapters.secrets import local_secrets
from softlaunch.core import secret_references

_TIMEOUT_SECONDS = 10.0
_REFUSALS = {
    400: "it refuses the request",
    403: "its token may not read that",
    404: "there is nothing at that path",
}


class VaultSecrets:
    """
    See ports.secrets.Secrets.

    Args:
        variables: The environment, for Vault's own variables.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def read(self, key: str, reference: secret_references.SecretReference) -> str:
        """See ports.secrets.Secrets.read."""
        path, _, field = reference.target.partition("#")
        address = self._variables.get("VAULT_ADDR", "").rstrip("/")
        if not address.startswith(("http://", "https://")):
            raise local_secrets.unreadable(
                key, reference, "VAULT_ADDR is no address", "Set it to Vault's URL where softlaunch is started."
            )
        headers = {"X-Vault-Token": self._token(key, reference), "X-Vault-Request": "true"}
        if "VAULT_NAMESPACE" in self._variables:
            headers["X-Vault-Namespace"] = self._variables["VAULT_NAMESPACE"]
        authority = self._variables.get("VAULT_CACERT")
        try:
            trusted = ssl.create_default_context(cafile=authority) if authority else True
            url = f"{address}/v1/{urllib.parse.quote(path)}"
            answer = httpx.get(url, headers=headers, timeout=_TIMEOUT_SECONDS, verify=trusted)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            # No cause: an error of the client may carry the request with the token.
            raise _silent(key, reference, type(error).__name__) from None
        if answer.status_code in _REFUSALS:
            raise local_secrets.unreadable(
                key, reference, f"{_REFUSALS[answer.status_code]} (Vault answered {answer.status_code})",
                "Look at it with `vault kv get`; the path of version 2 has data/ behind the engine's name.",
            )  # fmt: skip
        if answer.status_code != httpx.codes.OK:
            raise _silent(key, reference, f"it answered {answer.status_code}")
        try:
            found = answer.json()["data"]["data"][field]
        except (ValueError, LookupError, TypeError):
            raise local_secrets.unreadable(
                key, reference, f"it has no field {field!r}",
                "Look at it with `vault kv get`; engines of version 1 are not read.",
            ) from None  # fmt: skip
        if not isinstance(found, str) or "\0" in found:
            raise local_secrets.unreadable(key, reference, "it is no text", "Store a text in that field.")
        return found

    def _token(self, key: str, reference: secret_references.SecretReference) -> str:
        found = self._variables.get("VAULT_TOKEN", "").strip()
        if found:
            return found
        named = self._variables.get("VAULT_TOKEN_FILE")
        path = pathlib.Path(named) if named else pathlib.Path(self._variables.get("HOME", "/")) / ".vault-token"
        try:
            found = path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            found = ""
        if not found:
            raise local_secrets.unreadable(
                key, reference, "there is no token for Vault", "Set VAULT_TOKEN or VAULT_TOKEN_FILE, or `vault login`."
            )
        return found


def _silent(key: str, reference: secret_references.SecretReference, why: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The secret {key} ({reference}) cannot be read: Vault does not answer ({why}).",
        remedy="Check VAULT_ADDR, and that Vault runs and is unsealed.",
        code=errors.Code.SECRET_UNREADABLE,
    )
