"""Secrets of environments: resolved when a replica starts, and kept out of what this process writes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import structlog

from softlaunch.adapters.secrets import local_secrets, vault
from softlaunch.controller import redaction
from softlaunch.core import secret_references

REDACTOR = redaction.Redactor()
"""One for the process, as the configuration of its logs is."""


def install() -> None:
    """Puts the redactor into the logs of this process; doing it twice changes nothing."""
    structlog.configure(processors=redaction.processors(REDACTOR, structlog.get_config()["processors"]))


def resolve(references: Mapping[str, secret_references.SecretReference]) -> dict[str, str]:
    """
    Values by variable. The redactor knows them from then on.

    Raises:
        ConfigError: one cannot be read.
        UnavailableError: who keeps one does not answer.
    """
    reader = local_secrets.LocalSecrets(
        os.environ, {secret_references.SecretKind.VAULT: vault.VaultSecrets(os.environ)}
    )
    found = {}
    for key, reference in references.items():
        found[key] = reader.read(key, reference)
        REDACTOR.learn(found[key])
    return found
