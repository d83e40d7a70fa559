"""
Pipelines of Jenkins X: triggers of Lighthouse, and Tekton's tasks written into them.

Lighthouse hands each run what it was started for in parameters of its own names; they become those of the tasks.
"""

from __future__ import annotations

import re
from typing import Any

from softlaunch.controller.ci_files import documents, plan, tekton

_FOLDER = ".lighthouse"
_NAMES = {"repository": "REPO_URL", "revision": "PULL_PULL_SHA"}


def export(asked: plan.Plan) -> plan.Exported:
    folder = f"{_FOLDER}/{asked.prefix}"
    specs = {name.removeprefix(f"{asked.prefix}-"): spec for name, spec in tekton.tasks(asked).items()}
    return plan.Exported(
        files={
            f"{folder}/triggers.yaml": documents.text(
                _triggers(asked), heading="What starts which pipeline; lighthouse finds it by its place."
            ),
            f"{folder}/pullrequest.yaml": documents.text(
                _run(asked, "checks", specs["checks"]), heading="Checks of a pull request; needs no secret."
            ),
            f"{folder}/release.yaml": documents.text(
                _run(asked, "merge", specs["merge"]), heading="A merge: the control plane looks now, and ships."
            ),
            f"{folder}/rollback.yaml": documents.text(
                _rollback(asked, specs["rollback"]),
                heading="kubectl create -f FILE, with the commit, tag or branch to go back to as ref.",
            ),
        },
        next_steps=(
            *tekton.CLUSTER_STEPS,
            f"Make a volume claim {asked.prefix}-cache in the namespace of the pipelines, for packages.",
            "Import the repository with `jx project import`; it keeps what is in .lighthouse.",
        ),
    )


def _triggers(asked: plan.Plan) -> dict[str, Any]:
    context = {"name": f"{asked.prefix}-checks", "context": f"{asked.prefix}-checks"}
    return {
        "apiVersion": "config.lighthouse.jenkins-x.io/v1alpha1",
        "kind": "TriggerConfig",
        "spec": {
            "presubmits": [
                {
                    **context,
                    "always_run": True,
                    "optional": False,
                    "trigger": rf"(?m)^/test( all| {asked.prefix}-checks),?(\s+|$)",
                    "rerun_command": f"/test {asked.prefix}-checks",
                    "source": "pullrequest.yaml",
                }
            ],
            "postsubmits": [
                {
                    "name": f"{asked.prefix}-merge",
                    "context": f"{asked.prefix}-merge",
                    "source": "release.yaml",
                    "branches": [f"^{re.escape(branch)}$" for branch in asked.branches],
                }
            ],
        },
    }


def _run(asked: plan.Plan, what: str, spec: dict[str, Any]) -> dict[str, Any]:
    given = [each["name"] for each in spec.get("params", ())]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": f"{asked.prefix}-{what}"},
        "spec": {
            "pipelineSpec": {
                **({"params": [{"name": _NAMES[name], "type": "string"} for name in given]} if given else {}),
                **({"workspaces": [{"name": "cache"}]} if "workspaces" in spec else {}),
                "tasks": [_task(what, spec, {name: f"$(params.{_NAMES[name]})" for name in given})],
            },
            "timeouts": {"pipeline": f"{tekton.WAIT_MINUTES + 15}m0s"},
            "taskRunTemplate": tekton.POD,
            **({"workspaces": tekton.cache_workspace(asked)} if "workspaces" in spec else {}),
        },
    }


def _rollback(asked: plan.Plan, spec: dict[str, Any]) -> dict[str, Any]:
    run = tekton.rollback_run(asked)
    return {
        **run,
        "spec": {
            "pipelineSpec": {
                "params": [{"name": each["name"], "type": "string"} for each in run["spec"]["params"]],
                "tasks": [
                    _task(
                        "rollback",
                        spec,
                        {each["name"]: f"$(params.{each['name']})" for each in run["spec"]["params"]},
                    )
                ],
            },
            "params": run["spec"]["params"],
            "timeouts": run["spec"]["timeouts"],
            "taskRunTemplate": run["spec"]["taskRunTemplate"],
        },
    }


def _task(name: str, spec: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "taskSpec": spec,
        **({"params": [{"name": key, "value": value} for key, value in values.items()]} if values else {}),
        **({"workspaces": [{"name": "cache", "workspace": "cache"}]} if "workspaces" in spec else {}),
    }
