"""Options that name an identity, called as cosign calls them."""

from __future__ import annotations

import pathlib
from typing import Annotated, TypeAlias

import typer

from softlaunch import errors
from softlaunch.core import identities

_REMEDY = (
    "Give --certificate-oidc-issuer, and --certificate-identity or --certificate-identity-regexp; nothing else makes "
    "a Sigstore bundle anybody's."
)

Subject: TypeAlias = Annotated[
    str | None,
    typer.Option("--certificate-identity", metavar="SUBJECT", help="Trusted subject of Sigstore certificates."),
]
Pattern: TypeAlias = Annotated[
    str | None,
    typer.Option("--certificate-identity-regexp", metavar="PATTERN", help="The same as a pattern, from ^ to $."),
]
Issuer: TypeAlias = Annotated[
    str | None,
    typer.Option("--certificate-oidc-issuer", metavar="URL", help="Who has to vouch for that subject."),
]
TrustedRoot: TypeAlias = Annotated[
    pathlib.Path | None,
    typer.Option("--trusted-root", exists=True, dir_okay=False, help="trusted_root.json of your own Sigstore."),
]


def trust(
    subject: str | None,
    pattern: str | None,
    issuer: str | None,
    *,
    trusted_root: pathlib.Path | None,
    needed: bool,
    threshold: int,
) -> identities.Trust:
    """
    The identity that the options name; none of them: nobody.

    Raises:
        ConfigError: half an identity, or what does not go with one.
    """
    named = [each for each in (subject, pattern) if each]
    problem = ""
    if pattern and (wrong := identities.pattern_problem(pattern)):
        problem = f"With --certificate-identity-regexp {wrong}."
    elif len(named) > 1:
        problem = "--certificate-identity and --certificate-identity-regexp exclude each other."
    elif bool(named) != bool(issuer):
        problem = "An identity is a subject and the issuer that vouches for it, and one of the two is missing."
    elif not named and (trusted_root is not None or needed):
        problem = "It is not said whose signature a Sigstore bundle needs."
    elif named and threshold > 1:
        problem = "A Sigstore bundle has one signature: --threshold does not go with identities."
    if problem:
        raise errors.ConfigError(problem, remedy=_REMEDY, code=errors.Code.BAD_OPTION)
    if not issuer:
        return identities.Trust()
    trusted = identities.Identity(issuer=issuer, subject=subject or "", subject_regexp=pattern or "")
    return identities.Trust(identities=(trusted,), trusted_root=str(trusted_root or ""))
