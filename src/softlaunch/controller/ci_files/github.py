"""
Workflows of GitHub Actions.

Three files, because they have different powers. Checks run what strangers propose: on GitHub's machines, with nothing
to steal. Ships and rollbacks run on the runner beside the control plane, only for what was merged or for whoever may
start a workflow. A rollback never waits for a ship: it has a queue of its own, and no reviewer either.
"""

from __future__ import annotations

from typing import Any

from softlaunch.controller.ci_files import documents, plan, shell

_CHECKOUT = documents.Noted("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1")
_PYTHON = documents.Noted("actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0")
_CACHE = documents.Noted("actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae", "v5.0.5")
_RUNNER = ("self-hosted", "softlaunch")
_READ_ONLY = {"contents": "read"}
_LOCK_FILES = "hashFiles('**/requirements*.txt', '**/uv.lock', '**/pyproject.toml', '**/softlaunch.lock')"
_FOLDER = ".github/workflows"


def export(asked: plan.Plan) -> plan.Exported:
    name = f"{_FOLDER}/{asked.prefix}"
    return plan.Exported(
        files={
            f"{name}-checks.yml": documents.text(
                _checks(asked),
                heading="Tests, quality gates and the build of every pull request. Needs no secret, reaches no user.",
            ),
            f"{name}-ship.yml": documents.text(
                _ships(asked),
                heading="A merge brings the commit to users, through softlaunch on the machine of the runner.\n"
                "A run that is cancelled can be repeated: what was finished is not done again.",
            ),
            f"{name}-rollback.yml": documents.text(
                _rollback(asked),
                heading=f"Goes back by hand: Actions, {asked.prefix} rollback, Run workflow.\n"
                f"gh workflow run {asked.prefix}-rollback.yml -f ref=COMMIT -f environment={asked.environments[-1]}",
            ),
        },
        next_steps=(
            (
                "Register a self-hosted runner with the label softlaunch on the control plane's machine, "
                "as the user who runs `softlaunch up`."
            ),
            (
                "Set the secrets SOFTLAUNCH_URL and SOFTLAUNCH_TOKEN (`softlaunch token add NAME`) "
                "if that runner is somebody else; else leave them out."
            ),
            (
                f"Create the environments {', '.join(asked.environments)} under Settings, Environments; "
                "let reviewers approve there, if you like."
            ),
            f"Make the check {asked.prefix} required for " + " and ".join(asked.branches) + ".",
        ),
    )


def _checks(asked: plan.Plan) -> dict[str, Any]:
    return {
        "name": f"{asked.prefix} checks",
        "on": {"pull_request": {"branches": list(asked.branches)}},
        "permissions": _READ_ONLY,
        "concurrency": {"group": f"{asked.prefix}-checks-${{{{ github.ref }}}}", "cancel-in-progress": True},
        "jobs": {
            asked.prefix: {
                "name": asked.prefix,
                "runs-on": "ubuntu-latest",
                "timeout-minutes": 60,
                "steps": [
                    _checkout(),
                    {"name": "Python", "uses": _PYTHON, "with": {"python-version": "3.11"}},
                    {
                        "name": "Cache of packages",
                        "uses": _CACHE,
                        "with": {
                            "path": "~/.cache/pip\n~/.cache/uv\n",
                            "key": f"softlaunch-${{{{ runner.os }}}}-${{{{ {_LOCK_FILES} }}}}",
                            "restore-keys": "softlaunch-${{ runner.os }}-",
                        },
                    },
                    {"name": "Install softlaunch", "run": shell.install(asked)},
                    {"name": "Test, judge and build", "run": shell.check(asked)},
                ],
            }
        },
    }


def _ships(asked: plan.Plan) -> dict[str, Any]:
    return {
        "name": f"{asked.prefix} ship",
        "on": {"push": {"branches": list(asked.branches), **_paths(asked)}},
        "permissions": {**_READ_ONLY, **({"id-token": "write"} if asked.keyless else {})},
        "jobs": {
            f"ship-{way.environment}": {
                "name": f"ship to {way.environment}",
                "if": f"github.ref == {_quoted('refs/heads/' + way.branch)}",
                "runs-on": list(_RUNNER),
                "environment": way.environment,
                "concurrency": {
                    "group": f"softlaunch-ship-{asked.service}-{way.environment}",
                    "cancel-in-progress": False,
                },
                "timeout-minutes": 360,
                "steps": [
                    _checkout(),
                    {
                        "name": f"Ship to {way.environment}",
                        "run": shell.ship(asked, way.environment, commit="GITHUB_SHA", by="GITHUB_ACTOR"),
                    },
                ],
            }
            for way in asked.ways
        },
    }


def _rollback(asked: plan.Plan) -> dict[str, Any]:
    return {
        "name": f"{asked.prefix} rollback",
        "on": {
            "workflow_dispatch": {
                "inputs": {
                    "ref": {
                        "description": "Commit, tag or branch to go back to; previous: what ran before",
                        "required": True,
                        "default": "previous",
                        "type": "string",
                    },
                    "environment": {
                        "description": "Where",
                        "required": True,
                        "default": asked.environments[-1],
                        "type": "choice",
                        "options": list(asked.environments),
                    },
                    "reason": {"description": "Why, for the history", "required": False, "type": "string"},
                }
            }
        },
        "permissions": _READ_ONLY,
        "concurrency": {
            "group": f"softlaunch-rollback-{asked.service}-${{{{ inputs.environment }}}}",
            "cancel-in-progress": False,
        },
        "jobs": {
            "rollback": {
                "name": "roll back",
                "runs-on": list(_RUNNER),
                "timeout-minutes": 15,
                "steps": [
                    _checkout(),
                    {
                        "name": "Go back",
                        "env": {
                            "ROLLBACK_REF": "${{ inputs.ref }}",
                            "ROLLBACK_ENVIRONMENT": "${{ inputs.environment }}",
                            "ROLLBACK_REASON": "${{ inputs.reason || 'Asked on GitHub' }} "
                            "(${{ github.actor }}, run ${{ github.run_id }})",
                            "SOFTLAUNCH_URL": "${{ secrets.SOFTLAUNCH_URL }}",
                            "SOFTLAUNCH_TOKEN": "${{ secrets.SOFTLAUNCH_TOKEN }}",
                        },
                        "run": shell.roll_back(asked),
                    },
                ],
            }
        },
    }


def _paths(asked: plan.Plan) -> dict[str, Any]:
    """Of several services in a repository only those are shipped whose files changed."""
    return {"paths": [f"{asked.folder}/**"]} if asked.folder else {}


def _checkout() -> dict[str, Any]:
    return {
        "name": "Check out",
        "uses": _CHECKOUT,
        "with": {"fetch-depth": 0, "persist-credentials": False},
    }


def _quoted(text: str) -> str:
    """As a string of GitHub's expressions."""
    return "'" + text.replace("'", "''") + "'"
