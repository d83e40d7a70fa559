"""
Applications of Argo CD and Flux.

The git host stays the source, and the control plane stays the one who ships. What is applied to the cluster is a clock
that asks whether every environment runs what its branch says: Argo CD and Flux show the service healthy while it does,
and degraded while it does not, be it that a commit failed its tests or that somebody went back.
"""

from __future__ import annotations

from typing import Any

from softlaunch.controller.ci_files import documents, plan, shell, tekton

_WATCH = "deploy/softlaunch"
_LUA = """\
-- The clock of softlaunch: healthy while its last run said that every environment runs what its branch says.
hs = {status = "Progressing", message = "It has not run yet."}
if obj.spec ~= nil and obj.spec.suspend == true then
  hs.status = "Suspended"
  hs.message = "It is suspended."
  return hs
end
if obj.status == nil or obj.status.lastScheduleTime == nil then
  return hs
end
local labels = obj.metadata.labels or {}
local succeeded = obj.status.lastSuccessfulTime
if labels["app.kubernetes.io/part-of"] ~= "softlaunch" then
  hs.status = "Healthy"
  hs.message = "Scheduled."
elseif succeeded ~= nil and succeeded >= obj.status.lastScheduleTime then
  hs.status = "Healthy"
  hs.message = "Every environment runs what its branch says."
elseif obj.status.active ~= nil and #obj.status.active > 0 then
  hs.message = "It is asking."
else
  hs.status = "Degraded"
  hs.message = "An environment does not run what its branch says: softlaunch sync --status names it and says why."
end
return hs
"""
_CURRENT = (
    "has(status.lastSuccessfulTime) && timestamp(status.lastSuccessfulTime) >= timestamp(status.lastScheduleTime)"
)
_RUNNING = "has(status.active) && size(status.active) > 0"


def argo_cd(asked: plan.Plan) -> plan.Exported:
    """An Application, and the health check that argocd-cm has to know."""
    return plan.Exported(
        files={
            **_watch(asked),
            f"argocd/softlaunch-{asked.service}.yaml": documents.text(
                {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Application",
                    "metadata": {
                        "name": f"softlaunch-{asked.service}",
                        "namespace": "argocd",
                        "finalizers": ["resources-finalizer.argocd.argoproj.io"],
                    },
                    "spec": {
                        "project": "default",
                        "source": {
                            "repoURL": "https://git.example.com/team/service.git",
                            "targetRevision": asked.branches[-1],
                            "path": _path(asked),
                        },
                        "destination": {"server": "https://kubernetes.default.svc", "namespace": "softlaunch"},
                        "syncPolicy": {
                            "automated": {"prune": True, "selfHeal": True},
                            "syncOptions": ["CreateNamespace=true"],
                            "retry": {
                                "limit": 5,
                                "backoff": {"duration": "10s", "factor": 2, "maxDuration": "3m"},
                            },
                        },
                    },
                },
                heading="Change repoURL to the address of this repository.",
            ),
            "argocd/argocd-cm.yaml": documents.text(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {
                        "name": "argocd-cm",
                        "namespace": "argocd",
                        "labels": {"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"},
                    },
                    "data": {"resource.customizations.health.batch_CronJob": _LUA},
                },
                heading="A patch: kubectl -n argocd patch configmap argocd-cm --patch-file argocd/argocd-cm.yaml\n"
                "CronJobs that are not softlaunch's are healthy once they have been scheduled.",
            ),
        },
        next_steps=(
            *tekton.CLUSTER_STEPS,
            f"Change repoURL in argocd/softlaunch-{asked.service}.yaml.",
            "kubectl -n argocd patch configmap argocd-cm --patch-file argocd/argocd-cm.yaml",
            f"kubectl apply -f argocd/softlaunch-{asked.service}.yaml",
        ),
    )


def flux(asked: plan.Plan) -> plan.Exported:
    """A source and a Kustomization with its health check."""
    name = f"softlaunch-{asked.service}"
    return plan.Exported(
        files={
            **_watch(asked),
            f"flux/{name}.yaml": documents.text(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "softlaunch"}},
                {
                    "apiVersion": "source.toolkit.fluxcd.io/v1",
                    "kind": "GitRepository",
                    "metadata": {"name": name, "namespace": "flux-system"},
                    "spec": {
                        "interval": "1m",
                        "timeout": "60s",
                        "url": "https://git.example.com/team/service.git",
                        "ref": {"branch": asked.branches[-1]},
                    },
                },
                {
                    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                    "kind": "Kustomization",
                    "metadata": {"name": name, "namespace": "flux-system"},
                    "spec": {
                        "interval": "5m",
                        "retryInterval": "1m",
                        "timeout": "10m",
                        "path": f"./{_path(asked)}",
                        "prune": True,
                        "targetNamespace": "softlaunch",
                        "sourceRef": {"kind": "GitRepository", "name": name},
                        "healthChecks": [
                            {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "namespace": "softlaunch"}
                        ],
                        "healthCheckExprs": [
                            {
                                "apiVersion": "batch/v1",
                                "kind": "CronJob",
                                "current": f"has(status.lastScheduleTime) && {_CURRENT}",
                                "inProgress": f"!has(status.lastScheduleTime) || ({_RUNNING})",
                                "failed": f"has(status.lastScheduleTime) && !({_RUNNING}) && !({_CURRENT})",
                            }
                        ],
                    },
                },
                heading="Change url to the address of this repository. Needs Flux 2.5 or newer, for healthCheckExprs.",
            ),
        },
        next_steps=(
            *tekton.CLUSTER_STEPS,
            f"Change url in flux/{name}.yaml.",
            f"Commit flux/{name}.yaml to the repository that Flux watches, or kubectl apply -f it.",
        ),
    )


def _path(asked: plan.Plan) -> str:
    return f"{asked.folder}/{_WATCH}" if asked.folder else _WATCH


def _watch(asked: plan.Plan) -> dict[str, str]:
    """What either applies: the clock, and a policy that lets nobody in."""
    name = f"softlaunch-{asked.service}"
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "softlaunch"}
    path = _path(asked)
    return {
        f"{path}/kustomization.yaml": documents.text(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": ["watch.yaml"],
            },
            heading="What Argo CD or Flux applies.",
        ),
        f"{path}/watch.yaml": documents.text(
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "schedule": "*/5 * * * *",
                    "concurrencyPolicy": "Forbid",
                    "startingDeadlineSeconds": 120,
                    "successfulJobsHistoryLimit": 1,
                    "failedJobsHistoryLimit": 3,
                    "jobTemplate": {
                        "spec": {
                            "backoffLimit": 0,
                            "activeDeadlineSeconds": 240,
                            "template": {
                                "metadata": {"labels": labels},
                                "spec": _pod("sync-status", shell.status(asked)),
                            },
                        }
                    },
                },
            },
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": name, "labels": labels},
                "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]},
            },
            heading="Asks every five minutes whether each environment runs what its branch says.",
        ),
        f"{path}/rollback.yaml": documents.text(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"generateName": f"{name}-rollback-", "labels": labels},
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": 900,
                    "ttlSecondsAfterFinished": 86400,
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": _pod(
                            "rollback",
                            shell.CAREFUL
                            + shell.install_for_user(asked)
                            + shell.roll_back(asked, checked_out=False).removeprefix(shell.CAREFUL),
                            ROLLBACK_REF="previous",
                            ROLLBACK_ENVIRONMENT=asked.environments[-1],
                            ROLLBACK_REASON="Say why",
                        ),
                    },
                },
            },
            heading="A rollback by hand, which neither Argo CD nor Flux applies. Write the commit, tag or branch\n"
            "to go back to into ROLLBACK_REF, and: kubectl -n softlaunch create -f FILE",
        ),
    }


def _pod(name: str, script: str, **variables: str) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": name,
                "image": tekton.IMAGE,
                "command": ["/bin/sh", "-c", script],
                "env": [
                    {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
                    *({"name": key, "value": value} for key, value in variables.items()),
                    *(
                        {
                            "name": f"SOFTLAUNCH_{key.upper()}",
                            "valueFrom": {"secretKeyRef": {"name": tekton.SECRET, "key": key}},
                        }
                        for key in ("url", "token")
                    ),
                ],
                "securityContext": {**tekton.SAFE_CONTAINER, "readOnlyRootFilesystem": True},
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
                "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - as above
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
