"""`softlaunch export github` and its kin: files for the systems that test, merge and roll back for a team."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Annotated

import typer

import softlaunch
from softlaunch import errors
from softlaunch.cli import options, output
from softlaunch.config import service_file
from softlaunch.controller.ci_files import cluster, github, gitlab, jenkins, jenkins_x, plan, tekton, writing

Force = Annotated[bool, typer.Option("--force", help="Write over files that say something else.")]
Stdout = Annotated[bool, typer.Option("--stdout", help="Print the files and write none.")]


def export_github(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write workflows for GitHub Actions: checks of pull requests, a ship for each merge, a rollback by hand.

    The environments and their branches are those of softlaunch.yaml. Actions are pinned, permissions are read-only, and
    only what was merged runs on the machine of the control plane.

    Examples:

        softlaunch export github
        softlaunch export github --dir services/pricing --force
    """
    _export(github.export, directory, force=force, stdout=stdout, as_json=as_json)


def export_gitlab(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write .gitlab-ci.yml: checks of merge requests, a ship for each merge, a rollback by hand.

    A repository that has a .gitlab-ci.yml already takes over what --stdout prints.

    Examples:

        softlaunch export gitlab
        softlaunch export gitlab --stdout
    """
    _export(gitlab.export, directory, force=force, stdout=stdout, as_json=as_json)


def export_jenkins(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write a Jenkinsfile for checks and ships, and one for a rollback by hand.

    Ships and rollbacks run on the agent beside the control plane. Nothing typed is pasted into a script.

    Examples:

        softlaunch export jenkins
        softlaunch export jenkins --stdout
    """
    _export(jenkins.export, directory, force=force, stdout=stdout, as_json=as_json)


def export_jenkins_x(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write triggers and pipelines of Jenkins X: checks, merges, and a rollback by hand.

    In the cluster a merge lets the control plane, which follows the repository, ship; see `softlaunch follow`.

    Examples:

        softlaunch export jenkins-x
        softlaunch export jenkins-x --stdout
    """
    _export(jenkins_x.export, directory, force=force, stdout=stdout, as_json=as_json)


def export_tekton(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write tasks, pipelines and triggers of Tekton: checks, merges, and a rollback by hand.

    In the cluster a merge lets the control plane, which follows the repository, ship; see `softlaunch follow`.

    Examples:

        softlaunch export tekton
        softlaunch export tekton --stdout
    """
    _export(tekton.export, directory, force=force, stdout=stdout, as_json=as_json)


def export_argo_cd(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write an Application of Argo CD, and its health check.

    Argo CD shows the service degraded while an environment does not run what its branch says.

    Examples:

        softlaunch export argocd
        softlaunch export argocd --stdout
    """
    _export(cluster.argo_cd, directory, force=force, stdout=stdout, as_json=as_json)


def export_flux(
    *,
    directory: options.Directory = pathlib.Path(),
    force: Force = False,
    stdout: Stdout = False,
    as_json: options.Json = False,
) -> None:
    """
    Write a source and a Kustomization of Flux, with its health check.

    Flux shows the service failed while an environment does not run what its branch says. Needs Flux 2.5.

    Examples:

        softlaunch export flux
        softlaunch export flux --stdout
    """
    _export(cluster.flux, directory, force=force, stdout=stdout, as_json=as_json)


EXPORTS = {
    "github": export_github,
    "gitlab": export_gitlab,
    "jenkins": export_jenkins,
    "jenkins-x": export_jenkins_x,
    "tekton": export_tekton,
    "argocd": export_argo_cd,
    "flux": export_flux,
}
"""Further commands of `softlaunch export`."""


def _export(
    exporter: Callable[[plan.Plan], plan.Exported],
    directory: pathlib.Path,
    *,
    force: bool,
    stdout: bool,
    as_json: bool,
) -> None:
    service = service_file.load(directory / service_file.FILE_NAME)
    top = _top(directory)
    asked = plan.plan(
        service,
        folder=directory.resolve().relative_to(top),
        version=softlaunch.__version__,
    )
    exported = exporter(asked)
    if stdout:
        if as_json:
            output.document({"files": exported.files, "next": exported.next_steps})
        else:
            for name, text in exported.files.items():
                typer.echo(f"# {name}\n{text}")
        return
    written = writing.write(exported.files, top, force=force)
    if as_json:
        files = [{"path": str(top / name), "written": new} for name, new in written.items()]
        output.document({"files": files, "next": exported.next_steps})
        return
    for name, new in written.items():
        output.plain(f"{'wrote' if new else 'as it was'} {top / name}")
    output.plain("\nNext:")
    for step in (*exported.next_steps, "Commit the files."):
        output.plain(f"  * {step}")


def _top(directory: pathlib.Path) -> pathlib.Path:
    """
    The top of the repository that the folder is in.

    Raises:
        ConfigError: it is in none.
    """
    for folder in (directory.resolve(), *directory.resolve().parents):
        if (folder / ".git").exists():
            return folder
    raise errors.ConfigError(
        f"{directory.absolute()} is in no git repository, and these systems begin with one.",
        remedy="Begin one with `git init`, or name the service's folder with --dir.",
        code=errors.Code.NO_REPOSITORY,
    )
