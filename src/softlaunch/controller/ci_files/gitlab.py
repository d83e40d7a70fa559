"""
A pipeline of GitLab CI.

Checks run in a container, in merge requests only. Ships and rollbacks run on the runner with the tag softlaunch, which
is to be a protected one: then only protected branches reach it. What is typed for a rollback arrives as variables.
"""

from __future__ import annotations

import json
from typing import Any

from softlaunch.controller.ci_files import documents, plan, shell

_FILE = ".gitlab-ci.yml"
_IMAGE = "python:3.11-bookworm"
_RUNNER = ["softlaunch"]
_WHOLE_HISTORY = {"GIT_DEPTH": "0"}


def export(asked: plan.Plan) -> plan.Exported:
    path = f"{asked.folder}/{_FILE}" if asked.folder else _FILE
    included = (f"Name it in {_FILE} of the repository's top: include: [{{local: {path}}}].",) if asked.folder else ()
    return plan.Exported(
        files={
            path: documents.text(
                _pipeline(asked),
                heading="Checks of merge requests, a ship for each merge, a rollback by hand: Build, Pipelines,\n"
                "New pipeline, with ROLLBACK_REF and ROLLBACK_ENVIRONMENT; then start the job "
                f"{asked.prefix}-rollback.",
            )
        },
        next_steps=(
            *included,
            (
                "Register a runner with the shell executor and the tag softlaunch on the control plane's machine, "
                "as the user who runs `softlaunch up`; make it protected."
            ),
            f"Protect the branches {' and '.join(asked.branches)}, and let only maintainers run pipelines there.",
            (
                "Set the protected and masked variables SOFTLAUNCH_URL and SOFTLAUNCH_TOKEN "
                "(`softlaunch token add NAME`) if that runner is somebody else; else leave them out."
            ),
        ),
    )


def _pipeline(asked: plan.Plan) -> dict[str, Any]:
    return {
        "stages": ["check", "ship", "rollback"],
        "workflow": {
            "rules": [
                {"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'},
                {"if": '$CI_PIPELINE_SOURCE == "web"'},
                *({"if": f"$CI_COMMIT_BRANCH == {json.dumps(branch)}"} for branch in asked.branches),
            ]
        },
        "variables": {
            "ROLLBACK_REF": {
                "value": "previous",
                "description": "Only for a rollback: commit, tag or branch to go back to; previous: what ran before",
            },
            "ROLLBACK_ENVIRONMENT": {
                "value": asked.environments[-1],
                "options": list(asked.environments),
                "description": "Only for a rollback: where",
            },
            "ROLLBACK_REASON": {"value": "Asked on GitLab", "description": "Only for a rollback: why, for the history"},
        },
        f"{asked.prefix}-checks": {
            "stage": "check",
            "image": documents.Noted(_IMAGE, "pin it by digest where your policy asks for that"),
            "rules": [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}],
            "interruptible": True,
            "timeout": "1 hour",
            "variables": {
                **_WHOLE_HISTORY,
                "PIP_CACHE_DIR": "$CI_PROJECT_DIR/.cache/pip",
                "UV_CACHE_DIR": "$CI_PROJECT_DIR/.cache/uv",
            },
            "cache": {
                "key": {"files": _lock_files(asked), "prefix": asked.prefix},
                "paths": [".cache/pip", ".cache/uv"],
            },
            "script": [shell.install(asked), shell.check(asked)],
        },
        **{
            f"{asked.prefix}-ship-{way.environment}": {
                "stage": "ship",
                "tags": _RUNNER,
                "rules": [
                    {
                        "if": f'$CI_PIPELINE_SOURCE != "web" && $CI_PIPELINE_SOURCE != "merge_request_event" '
                        f"&& $CI_COMMIT_BRANCH == {json.dumps(way.branch)}",
                        **({"changes": [f"{asked.folder}/**/*"]} if asked.folder else {}),
                    }
                ],
                "environment": {"name": way.environment},
                "resource_group": f"{asked.prefix}-ship-{way.environment}",
                "interruptible": False,
                "timeout": "6 hours",
                "variables": _WHOLE_HISTORY,
                **({"id_tokens": {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}} if asked.keyless else {}),
                "script": [shell.ship(asked, way.environment, commit="CI_COMMIT_SHA", by="GITLAB_USER_LOGIN")],
            }
            for way in asked.ways
        },
        f"{asked.prefix}-rollback": {
            "stage": "rollback",
            "tags": _RUNNER,
            "rules": [{"if": '$CI_PIPELINE_SOURCE == "web"', "when": "manual"}],
            "resource_group": f"{asked.prefix}-rollback",
            "interruptible": False,
            "timeout": "15 minutes",
            "variables": _WHOLE_HISTORY,
            "script": [shell.roll_back(asked)],
        },
    }


def _lock_files(asked: plan.Plan) -> list[str]:
    """GitLab takes two at most."""
    folder = f"{asked.folder}/" if asked.folder else ""
    return [f"{folder}requirements.txt", f"{folder}softlaunch.lock"]
