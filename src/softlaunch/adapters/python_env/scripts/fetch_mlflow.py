"""
Fetches a model of an MLflow registry, and says which version it was.

Asked: uri (models:/NAME@ALIAS, models:/NAME/VERSION), version (that it must be; None: what the URI stands for now),
directory (where it is put; None: nothing is fetched). Answers: version, and directory (the model's, below the one
asked for).

The server is $MLFLOW_TRACKING_URI ($MLFLOW_REGISTRY_URI where the registry is another), with MLflow's own variables for
credentials. Addresses stay out of every message: they may hold passwords.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

from softlaunch import errors
from softlaunch.adapters.python_env.scripts import exchange

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+|(?i:host)='[^']*'|(?<=@)[\w.-]+:\d+")


def fetch(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    uri = request["uri"]
    named = _URI.fullmatch(uri)
    if named is None:
        raise _failed(uri, "it names no version and no alias", "Write models:/NAME@ALIAS or models:/NAME/VERSION.")
    if not os.environ.get("MLFLOW_TRACKING_URI") and not os.environ.get("MLFLOW_REGISTRY_URI"):
        raise _failed(uri, "MLFLOW_TRACKING_URI is not set", "Set it to the address of your MLflow tracking server.")
    # MLflow tries for many minutes where nobody listens; whoever set these knows better.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    try:
        import mlflow  # noqa: PLC0415  # only in environments of MLflow models
        import mlflow.artifacts  # noqa: PLC0415
    except ImportError as error:
        raise _failed(
            uri,
            f"the service's environment has no mlflow ({exchange.one_line(error)})",
            "Add mlflow (or mlflow-skinny with numpy and pandas) to the service's requirements.lock.",
        ) from error
    try:
        version = request["version"] or named["version"]
        if version is None:
            version = str(mlflow.MlflowClient().get_model_version_by_alias(named["name"], named["alias"]).version)
        if request["directory"] is None:
            return {"version": str(version), "directory": None}
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{named['name']}/{version}", dst_path=request["directory"]
        )
    except Exception as error:  # MLflow passes on what its HTTP client and artifact stores raise
        said = _ADDRESS.sub("(address left out)", exchange.one_line(error))
        raise _failed(
            uri,
            said,
            "Check the name and alias in MLflow, $MLFLOW_TRACKING_URI, and that its server answers here.",
        ) from error
    return {"version": str(version), "directory": str(pathlib.Path(found).resolve())}


def _failed(uri: str, why: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(f"{uri} cannot be fetched: {why}.", remedy=remedy, code=errors.Code.DOWNLOAD_FAILED)


if __name__ == "__main__":
    exchange.run(fetch)
