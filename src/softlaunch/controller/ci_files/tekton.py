"""
Tasks, pipelines and triggers of Tekton, and what Jenkins X starts of them.

A pod of a cluster is not the control plane's machine: it holds neither its home nor its keys. So a merge only tells the
control plane, which follows the repository, to look now, and waits for what becomes of it. Who may do that is in the
secret `softlaunch`. Nothing runs as root, and what a pull request could write into, the cache of packages, is given to
checks alone, which hold no secret.
"""

from __future__ import annotations

from typing import Any

from softlaunch.controller.ci_files import documents, plan, shell

IMAGE = "python:3.11-bookworm"
SECRET = "softlaunch"  # noqa: S105 - the name of one
SAFE_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESOURCES = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
WAIT_MINUTES = 60
_CACHED = (
    {"name": "PIP_CACHE_DIR", "value": "$(workspaces.cache.path)/pip"},
    {"name": "UV_CACHE_DIR", "value": "$(workspaces.cache.path)/uv"},
)
POD = {
    "podTemplate": {
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": SAFE_CONTAINER["runAsUser"]},
    }
}
"""Of every run: volumes belong to the user that tasks run as."""
_API = "tekton.dev/v1"
_TRIGGERS = "triggers.tekton.dev/v1beta1"
_CLONE = """\
set -eu
case "$REPOSITORY $REVISION" in
  -* | *" -"*) echo "The repository and the revision must not begin with a dash." >&2; exit 2 ;;
esac
git clone --quiet -- "$REPOSITORY" "$CHECKOUT"
git -C "$CHECKOUT" fetch --quiet origin "$REVISION"
git -C "$CHECKOUT" checkout --quiet --detach FETCH_HEAD
"""


def export(asked: plan.Plan) -> plan.Exported:
    return plan.Exported(
        files={
            f"tekton/{asked.prefix}.yaml": documents.text(
                *(_task(name, spec) for name, spec in tasks(asked).items()),
                *_pipelines(asked),
                heading="Tasks and pipelines: checks of pull requests, merges, and a rollback by hand:\n"
                "tkn pipeline start softlaunch-rollback -p repository=URL -p ref=COMMIT -p reason=WHY",
            ),
            f"tekton/{asked.prefix}-triggers.yaml": documents.text(
                *_triggers(asked),
                heading="Starts them for a webhook of GitHub, whose secret is kept in softlaunch-webhook.",
            ),
            f"tekton/{asked.prefix}-rollback-run.yaml": documents.text(
                rollback_run(asked),
                heading="kubectl create -f FILE, with the commit, tag or branch to go back to as ref.",
            ),
        },
        next_steps=(
            *CLUSTER_STEPS,
            "kubectl create secret generic softlaunch-webhook --from-literal=token=SECRET; give SECRET to the webhook.",
            f"kubectl apply -f tekton/{asked.prefix}.yaml -f tekton/{asked.prefix}-triggers.yaml",
            (
                f"kubectl create clusterrolebinding {asked.prefix}-triggers "
                f"--serviceaccount=NAMESPACE:{asked.prefix}-triggers "
                "--clusterrole=tekton-triggers-eventlistener-clusterroles"
            ),
        ),
    )


CLUSTER_STEPS = (
    "Let the control plane follow the repository: `softlaunch follow URL`.",
    "Make the control plane reachable from the cluster, which it is not by itself (it binds loopback): a tunnel.",
    (
        "kubectl create secret generic softlaunch --from-literal=url=http://TUNNEL:PORT --from-literal=token=TOKEN, "
        "with the token of `softlaunch token add NAME`."
    ),
)


def tasks(asked: plan.Plan) -> dict[str, dict[str, Any]]:
    """The task of each pipeline, by its name."""
    return {
        f"{asked.prefix}-checks": _steps(
            {"repository": None, "revision": None},
            {"clone": _CLONE, "check": f'{shell.install_for_user(asked)}cd "$CHECKOUT"\n{shell.check(asked)}'},
            description="Tests, judges and builds a revision; reaches nobody's users.",
        ),
        f"{asked.prefix}-merge": _steps(
            {},
            {"sync": shell.install_for_user(asked) + _tail(shell.sync(asked, minutes=WAIT_MINUTES))},
            description="Lets the control plane look at the repository now, and waits until its branches' commits run.",
            connected=True,
        ),
        f"{asked.prefix}-rollback": _steps(
            {
                "repository": None,
                "revision": "HEAD",
                "ref": "previous",
                "environment": asked.environments[-1],
                "reason": "Asked on the cluster",
            },
            {
                "clone": _CLONE,
                "rollback": shell.install_for_user(asked) + f'cd "$CHECKOUT"\n{_tail(shell.roll_back(asked))}',
            },
            description="Goes back to the release of a commit, tag or branch; previous: to what ran before.",
            connected=True,
        ),
    }


def rollback_run(asked: plan.Plan) -> dict[str, Any]:
    """A run of the pipeline, to be filled in."""
    return {
        "apiVersion": _API,
        "kind": "PipelineRun",
        "metadata": {"generateName": f"{asked.prefix}-rollback-"},
        "spec": {
            "pipelineRef": {"name": f"{asked.prefix}-rollback"},
            "params": [
                {"name": "repository", "value": "https://git.example.com/team/service.git"},
                {"name": "ref", "value": "previous"},
                {"name": "environment", "value": asked.environments[-1]},
                {"name": "reason", "value": "Say why"},
            ],
            "timeouts": {"pipeline": "15m0s"},
            "taskRunTemplate": POD,
        },
    }


def _tail(script: str) -> str:
    """Without its first line, which the script it becomes part of has already."""
    return script.removeprefix(shell.CAREFUL)


def _steps(
    params: dict[str, str | None], scripts: dict[str, str], *, description: str, connected: bool = False
) -> dict[str, Any]:
    """A task's spec; what was typed reaches its scripts in variables only."""
    names = {"ref": "ROLLBACK_REF", "environment": "ROLLBACK_ENVIRONMENT", "reason": "ROLLBACK_REASON"}
    variables = [
        *({"name": names.get(name, name.upper()), "value": f"$(params.{name})"} for name in params),
        {"name": "CHECKOUT", "value": "/tmp/source"},  # noqa: S108 - a volume of the pod's own
        {"name": "HOME", "value": "/tmp/home"},  # noqa: S108
        *([] if connected else _CACHED),
    ]
    secrets = [
        {"name": f"SOFTLAUNCH_{key.upper()}", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}}}
        for key in ("url", "token")
    ]
    steps = [
        {
            "name": name,
            "script": f"#!/bin/sh\nset -eu\n{_tail(script)}",
            **({"env": secrets} if connected and name != "clone" else {}),
        }
        for name, script in scripts.items()
    ]
    spec: dict[str, Any] = {
        "description": description,
        "params": [
            {"name": name, "type": "string", **({} if default is None else {"default": default})}
            for name, default in params.items()
        ],
        "workspaces": [{"name": "cache", "description": "Packages, kept between runs."}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "stepTemplate": {
            "image": IMAGE,
            "env": variables,
            "securityContext": SAFE_CONTAINER,
            "computeResources": RESOURCES,
            "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - as above
        },
        "steps": steps,
    }
    for name, there in (("params", bool(params)), ("workspaces", not connected)):
        if not there:
            del spec[name]
    return spec


def _task(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": "Task", "metadata": {"name": name}, "spec": spec}


def _pipelines(asked: plan.Plan) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": _API,
            "kind": "Pipeline",
            "metadata": {"name": name},
            "spec": {
                "description": spec["description"],
                **({"params": spec["params"]} if "params" in spec else {}),
                **({"workspaces": [{"name": "cache"}]} if "workspaces" in spec else {}),
                "tasks": [
                    {
                        "name": name.removeprefix(f"{asked.prefix}-"),
                        "taskRef": {"name": name},
                        "timeout": f"{WAIT_MINUTES + 15}m0s",
                        **(
                            {
                                "params": [
                                    {"name": each["name"], "value": f"$(params.{each['name']})"}
                                    for each in spec["params"]
                                ]
                            }
                            if "params" in spec
                            else {}
                        ),
                        **({"workspaces": [{"name": "cache", "workspace": "cache"}]} if "workspaces" in spec else {}),
                    }
                ],
            },
        }
        for name, spec in tasks(asked).items()
    ]


def cache_workspace(asked: plan.Plan) -> list[dict[str, Any]]:
    return [{"name": "cache", "persistentVolumeClaim": {"claimName": f"{asked.prefix}-cache"}}]


def _triggers(asked: plan.Plan) -> list[dict[str, Any]]:
    branches = ", ".join(f"'refs/heads/{branch}'" for branch in asked.branches)
    bases = ", ".join(f"'{branch}'" for branch in asked.branches)
    checked = f"body.action in ['opened', 'synchronize', 'reopened'] && body.pull_request.base.ref in [{bases}]"
    merged = f"body.ref in [{branches}]"
    account = f"{asked.prefix}-triggers"
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"{asked.prefix}-cache"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account}],
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "tekton-triggers-eventlistener-roles",
            },
        },
        _template(
            asked,
            "checks",
            {"repository": "$(tt.params.repository)", "revision": "$(tt.params.revision)"},
        ),
        _template(asked, "merge", {}),
        {
            "apiVersion": _TRIGGERS,
            "kind": "EventListener",
            "metadata": {"name": asked.prefix},
            "spec": {
                "serviceAccountName": account,
                "triggers": [
                    _trigger(
                        asked,
                        "checks",
                        checked,
                        [
                            {"name": "repository", "value": "$(body.repository.clone_url)"},
                            {"name": "revision", "value": "refs/pull/$(body.pull_request.number)/head"},
                        ],
                    ),
                    _trigger(asked, "merge", merged, []),
                ],
            },
        },
    ]


def _template(asked: plan.Plan, what: str, params: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": _TRIGGERS,
        "kind": "TriggerTemplate",
        "metadata": {"name": f"{asked.prefix}-{what}"},
        "spec": {
            **({"params": [{"name": name} for name in params]} if params else {}),
            "resourcetemplates": [
                {
                    "apiVersion": _API,
                    "kind": "PipelineRun",
                    "metadata": {"generateName": f"{asked.prefix}-{what}-"},
                    "spec": {
                        "pipelineRef": {"name": f"{asked.prefix}-{what}"},
                        **(
                            {"params": [{"name": name, "value": value} for name, value in params.items()]}
                            if params
                            else {}
                        ),
                        "taskRunTemplate": POD,
                        **({"workspaces": cache_workspace(asked)} if what == "checks" else {}),
                    },
                }
            ],
        },
    }


def _trigger(asked: plan.Plan, what: str, condition: str, bindings: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "name": what,
        "interceptors": [
            {
                "ref": {"name": "github"},
                "params": [
                    {"name": "secretRef", "value": {"secretName": "softlaunch-webhook", "secretKey": "token"}},
                    {"name": "eventTypes", "value": ["pull_request" if what == "checks" else "push"]},
                ],
            },
            {"ref": {"name": "cel"}, "params": [{"name": "filter", "value": condition}]},
        ],
        **({"bindings": bindings} if bindings else {}),
        "template": {"ref": f"{asked.prefix}-{what}"},
    }
