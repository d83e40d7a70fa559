"""
Who signed without a key of their own: an identity that an OpenID provider vouched for, in a Sigstore bundle.

An identity is trusted only together with who vouched for it: anybody can run a provider that calls them
`ci@example.com`. Patterns are taken only with both ends stated, because a pattern that matches somewhere in the middle
also matches what an attacker puts around it.
"""

from __future__ import annotations

import dataclasses
import re

from softlaunch.core import dsse_types, model_bundle

ARTIFACT_TYPE = model_bundle.BUNDLE_TYPE
"""Of the referrer that carries a bundle, and of its one layer, as cosign attaches them."""
CONTENT_ANNOTATION = "dev.sigstore.bundle.content"
CONTENT = "dsse-envelope"
PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"
MEDIA_TYPES = (ARTIFACT_TYPE, "application/vnd.dev.sigstore.bundle+json;version=0.3")
_BYTES_MAX = 16 << 20
"""Of a bundle; the same guess as of an envelope."""
_PATTERN_CHARACTERS_MAX = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """Somebody who is trusted: by the exact subject, or by a pattern of subjects."""

    issuer: str
    subject: str = ""
    subject_regexp: str = ""

    def matches(self, signer: Signer) -> bool:
        """Whether it is the same issuer, to the letter, and such a subject."""
        if self.issuer != signer.issuer:
            return False
        if self.subject_regexp:
            return re.fullmatch(self.subject_regexp, signer.subject) is not None
        return self.subject == signer.subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signer:
    """Whose bundle it is, as its certificate and the transparency log say."""

    subject: str
    """An e-mail address, or the URL of a workflow."""
    issuer: str
    """The OpenID provider that vouched for the subject."""
    log_index: int
    integrated_time: str
    """UTC, ISO 8601: when the log took it in, or a timestamp authority saw it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """What a bundle holds once it is verified."""

    payload_type: str
    payload: bytes
    signer: Signer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trust:
    """Identities that are trusted, and the file of the certificate authorities and logs they are believed from."""

    identities: tuple[Identity, ...] = ()
    trusted_root: str = ""
    """Path of a trusted_root.json; empty: of the public Sigstore."""

    def of(self, signer: Signer) -> bool:
        """Whether this signer is one of them."""
        return any(each.matches(signer) for each in self.identities)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keyless:
    """How statements are signed without a key: by whose services. Empty paths: by the public Sigstore's."""

    trusted_root: str = ""
    signing_config: str = ""


def pattern_problem(pattern: str) -> str:
    """What is wrong with a pattern of subjects; empty: nothing."""
    if len(pattern) > _PATTERN_CHARACTERS_MAX:
        return f"it is longer than {_PATTERN_CHARACTERS_MAX} characters"
    if not pattern.startswith("^") or not pattern.endswith("$") or pattern.endswith(r"\$"):
        return "it does not begin with ^ and end with $"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        return f"it is no pattern: {error}"
    return "it also matches nothing at all" if compiled.fullmatch("") else ""


def check_shape(raw: bytes) -> None:
    """
    Looks whether these bytes are a bundle of version 0.3 around one signed statement, before anything is verified.

    Raises:
        MalformedError: they are not, or could be read in two ways.
    """
    if len(raw) > _BYTES_MAX:
        raise dsse_types.MalformedError(f"the bundle has {len(raw)} bytes, more than {_BYTES_MAX}")
    found = dsse_types.strict_json(raw, "the bundle")
    if found.get("mediaType") not in MEDIA_TYPES:
        raise dsse_types.MalformedError(f"it is a {found.get('mediaType')!r:.80}, not a {ARTIFACT_TYPE}")
    odd = sorted(set(found) - {"mediaType", "verificationMaterial", "dsseEnvelope"})
    if odd:
        raise dsse_types.MalformedError(f"the bundle has more than one signed statement: {', '.join(odd)[:120]}")
    material, envelope = found.get("verificationMaterial"), found.get("dsseEnvelope")
    if not isinstance(material, dict) or not isinstance(envelope, dict):
        raise dsse_types.MalformedError("the bundle holds no signed statement")
    if "certificate" not in material:
        raise dsse_types.MalformedError("the bundle has no certificate: a plain key signed it")
