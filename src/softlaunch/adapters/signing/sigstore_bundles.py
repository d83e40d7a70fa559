"""
Sigstore bundles verified without a network, by Sigstore's own library; see ports.signing.Bundles.

What is checked, by the library and in this order: a verified time (the log's signed promise, or a timestamp authority),
the certificate's chain at that time, its signed certificate timestamp, its purpose, the inclusion proof with the log's
signed checkpoint, the promise, the envelope's signature, and that the log entry is of this envelope.

The library is an extra and costs half a second to import: only who trusts an identity pays.
"""

from __future__ import annotations

import datetime
import importlib.resources
import importlib.util
import json
import pathlib
from typing import Any

from cryptography import x509
from cryptography.hazmat import asn1

from softlaunch import errors
from softlaunch.core import dsse_types, identities

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_OLD = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
"""Fulcio's extensions: github.com/sigstore/fulcio, docs/oid-info.md."""
PUBLIC_ROOT = ("https%3A%2F%2Ftuf-repo-cdn.sigstore.dev", "trusted_root.json")
"""In the package sigstore._store."""
_REASON_CHARACTERS_MAX = 300


class Bundles:
    """See ports.signing.Bundles."""

    def read(self, raw: bytes, *, trusted_root: str) -> identities.Bundle:
        """See ports.signing.Bundles.read."""
        verifier = _verifier(trusted_root)
        identities.check_shape(raw)
        from sigstore import errors as sigstore_errors  # noqa: PLC0415 - see the module
        from sigstore import models  # noqa: PLC0415 - likewise

        anybody = _Anybody()
        try:
            bundle = models.Bundle.from_json(raw)
            payload_type, payload = verifier.verify_dsse(bundle, anybody)
            said = json.loads(bundle.to_json())["verificationMaterial"]
            subject, issuer = identity(bundle.signing_certificate)
            index, moment = _logged(said)
        except dsse_types.MalformedError:
            raise
        except sigstore_errors.CertValidationError as error:
            raise dsse_types.MalformedError(
                f"its certificate is by no authority that is trusted, or was not valid when it signed ({reason(error)})"
            ) from error
        except Exception as error:  # five libraries read untrusted bytes here; whatever one raises is a refusal
            raise dsse_types.MalformedError(f"its bundle does not verify: {reason(error)}") from error
        if not anybody.asked:
            raise errors.InvariantError("The library verified a bundle without looking at its certificate.")
        return identities.Bundle(
            payload_type=payload_type,
            payload=payload,
            signer=identities.Signer(subject=subject, issuer=issuer, log_index=index, integrated_time=moment),
        )


class _Anybody:
    """The library's policy that takes every identity; the one that was asked for is compared by core.identities."""

    def __init__(self) -> None:
        self.asked = False

    def verify(self, cert: x509.Certificate) -> None:
        """Raises nothing when the certificate names one identity and one issuer."""
        identity(cert)
        self.asked = True


def has_library() -> bool:
    """Whether the extra is installed; costs no import of it."""
    return importlib.util.find_spec("sigstore") is not None


def needs_library() -> None:
    """
    Raises:
        ConfigError: Sigstore's library is not installed.
    """
    if not has_library():
        raise errors.ConfigError(
            "Identities are asked for here, and this softlaunch was installed without what signs and verifies by them.",
            remedy="Install softlaunch[sigstore].",
            code=errors.Code.NO_SIGSTORE,
        )


def trusted_root_of(path: str) -> Any:
    """
    The library's TrustedRoot in that file; without one, the public Sigstore's as the library carries it.

    Raises:
        ConfigError: the file cannot be read or is none, or the library is not installed.
    """
    needs_library()
    from sigstore import models  # noqa: PLC0415 - see the module

    if not path:
        with importlib.resources.as_file(
            importlib.resources.files("sigstore._store").joinpath(*PUBLIC_ROOT)
        ) as embedded:
            return models.TrustedRoot.from_file(str(embedded))
    try:
        return models.TrustedRoot.from_file(str(pathlib.Path(path).expanduser()))
    except Exception as error:  # the library lets through what its reader of JSON raises
        raise _bad_root(path, error) from error


def identity(certificate: x509.Certificate) -> tuple[str, str]:
    """
    The one subject of the certificate, and who vouched for it.

    Raises:
        MalformedError: it names none, or several.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise dsse_types.MalformedError("its certificate names nobody") from error
    found = [each for each in map(_name, names) if each]
    if len(names) != 1 or len(found) != 1:
        raise dsse_types.MalformedError(f"its certificate has {len(names)} names, not one that can be read")
    issuer = _extension(certificate, _ISSUER)
    if issuer is not None:
        return found[0], asn1.decode_der(str, issuer)
    issuer = _extension(certificate, _ISSUER_OLD)
    if issuer is None:
        raise dsse_types.MalformedError("its certificate does not say who vouched for the identity")
    return found[0], issuer.decode()


def _verifier(path: str) -> Any:
    root = trusted_root_of(path)
    from sigstore import verify  # noqa: PLC0415 - see the module

    try:
        return verify.Verifier(trusted_root=root)
    except Exception as error:  # a root without logs or authorities: the library has no one type for that
        raise _bad_root(path, error) from error


def _logged(material: dict[str, Any]) -> tuple[int, str]:
    """Number in the log and moment, those that the signatures cover; of what the library read, not of the file."""
    (entry,) = material["tlogEntries"]
    proof = entry["inclusionProof"]
    if proof["checkpoint"]["envelope"].split("\n")[1] != str(proof["treeSize"]):
        # The library compares the hashes alone; with another size the same path would lead to another number.
        raise dsse_types.MalformedError("its inclusion proof is of another size than the log's checkpoint")
    if entry.get("inclusionPromise") and int(entry.get("integratedTime") or 0):
        moment = datetime.datetime.fromtimestamp(int(entry["integratedTime"]), tz=datetime.UTC)
        return int(entry["logIndex"]), moment.isoformat()
    import rfc3161_client  # noqa: PLC0415 - comes with the library

    stamps = material["timestampVerificationData"]["rfc3161Timestamps"]
    if len(stamps) != 1:  # one that verifies is enough for the library, and which one it was it does not say
        raise dsse_types.MalformedError(f"it has {len(stamps)} timestamps, not one")
    raw = dsse_types.base64_bytes(stamps[0]["signedTimestamp"], "its timestamp")
    stamp = rfc3161_client.decode_timestamp_response(raw)
    return int(proof["logIndex"]), stamp.tst_info.gen_time.astimezone(datetime.UTC).isoformat()


def _name(name: x509.GeneralName) -> str:
    if isinstance(name, (x509.RFC822Name, x509.UniformResourceIdentifier)):
        return name.value
    if isinstance(name, x509.OtherName) and name.type_id == _OTHER_NAME:
        return asn1.decode_der(str, name.value)
    return ""


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    return found.value if isinstance(found, x509.UnrecognizedExtension) else None


def reason(error: Exception) -> str:
    """In one line, without the hashes and certificates that some messages of the library end with."""
    said = " ".join(str(error).split()) or type(error).__name__
    for tail in (": expected ", " (encountered processing"):
        said = said.partition(tail)[0]
    return said if len(said) <= _REASON_CHARACTERS_MAX else f"{said[: _REASON_CHARACTERS_MAX - 3]}..."


def _bad_root(path: str, error: Exception) -> errors.ConfigError:
    return errors.ConfigError(
        f"{path or 'The trusted root of the library sigstore'} is no trusted root: {reason(error)}.",
        remedy="Name the trusted_root.json of your Sigstore; without one, the public Sigstore's is used.",
        code=errors.Code.TRUSTED_ROOT,
    )
