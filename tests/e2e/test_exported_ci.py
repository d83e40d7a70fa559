"""Exported CI files, as each system's own validator sees them, and what their health checks say."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import ci_tools
import pytest
import ruamel.yaml

pytestmark = [pytest.mark.slow, pytest.mark.servers]

EXPORTED = ci_tools.ROOT / "tests" / "golden" / "ci"
"""tests/unit/controller/test_ci_files.py proves that these are the files that are exported."""
SCHEMAS, ZIZMOR, KUBERNETES = (
    ci_tools.of_python(name) for name in ("check-jsonschema", "zizmor", "kubernetes-validate")
)
GROOVY, TEKTON = ci_tools.of_npm("npm-groovy-lint"), ci_tools.of_npm("tekton-lint")
ACTIONLINT, RESOURCES = (
    ci_tools.ROOT / "tests" / "tools" / f"{name}.mjs" for name in ("actionlint", "custom_resources")
)
LUA = ci_tools.of_python("python")


def files(system: str, pattern: str = "*.y*ml") -> list[pathlib.Path]:
    found = sorted((EXPORTED / system).rglob(pattern))
    assert found
    return found


def documents(system: str) -> list[dict[str, Any]]:
    reader = ruamel.yaml.YAML(typ="safe", pure=True)
    return [each for path in files(system) for each in reader.load_all(path.read_text())]


@ci_tools.needs(SCHEMAS)
def test_github_s_schema_is_content() -> None:
    ci_tools.passes(SCHEMAS, "--builtin-schema", "vendor.github-workflows", *files("github"), folder=EXPORTED)


@ci_tools.needs(ZIZMOR)
def test_no_hole_is_found_in_the_workflows() -> None:
    printed = ci_tools.passes(
        ZIZMOR, "--offline", "--persona", "pedantic", EXPORTED / "github" / ".github", folder=EXPORTED
    )

    assert "No findings to report" in printed


@ci_tools.needs(ci_tools.MODULES / "actionlint", programs=("node",))
def test_actionlint_finds_nothing_but_the_runner_s_own_label() -> None:
    """Which nobody but the team's .github/actionlint.yaml can know."""
    done = ci_tools.run("node", ACTIONLINT, ci_tools.MODULES, *files("github"), folder=EXPORTED)

    assert done.stdout
    assert [line for line in done.stdout.splitlines() if 'label "softlaunch" is unknown' not in line] == []


@ci_tools.needs(SCHEMAS)
def test_gitlab_s_schema_is_content() -> None:
    ci_tools.passes(
        SCHEMAS,
        *("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
        *files("gitlab"),
        folder=EXPORTED,
    )


@ci_tools.needs(GROOVY, programs=("java",))
def test_the_jenkinsfiles_are_groovy_without_a_warning() -> None:
    ci_tools.passes(
        GROOVY, "--noserver", "--failon", "warning", *files("jenkins", "Jenkinsfile*"), folder=EXPORTED / "jenkins"
    )


@ci_tools.needs(TEKTON)
@pytest.mark.parametrize("system", ["tekton", "jenkins-x"])
def test_tekton_s_linter_is_content(system: str) -> None:
    """Of Jenkins X, with the pipelines; nothing checks Lighthouse's triggers."""
    ci_tools.passes(TEKTON, "--max-warnings", "0", *files(system), folder=EXPORTED / system)


@ci_tools.needs(KUBERNETES)
@pytest.mark.parametrize("system", ["argocd", "flux", "tekton"])
def test_what_kubernetes_knows_itself_is_valid(system: str, tmp_path: pathlib.Path) -> None:
    known = [each for each in documents(system) if "." not in each["apiVersion"].replace(".k8s.io", "")]
    known = [each for each in known if not each["apiVersion"].startswith("kustomize.config")]
    path = tmp_path / "known.json"
    assert known
    for each in known:
        each["metadata"].setdefault("name", "made-of-generateName")  # which the validator has not heard of
        path.write_text(json.dumps(each))
        ci_tools.passes(KUBERNETES, "--strict", path, folder=tmp_path)


@ci_tools.needs(ci_tools.MODULES / "@kubernetes-models" / "flux-cd", programs=("node",))
@pytest.mark.parametrize(("system", "count"), [("argocd", 1), ("flux", 2)])
def test_resources_fit_the_schemas_of_their_controllers(system: str, count: int) -> None:
    theirs = [each for each in documents(system) if "argoproj.io" in each["apiVersion"] or "flux" in each["apiVersion"]]

    done = subprocess.run(
        ["node", RESOURCES, ci_tools.MODULES], input=json.dumps(theirs), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert count == done.stdout.count("is valid")


CLOCK = {"app.kubernetes.io/part-of": "softlaunch"}
EARLY, LATE = "2026-03-01T10:00:00Z", "2026-03-01T10:05:00Z"


@ci_tools.needs(LUA)
@pytest.mark.parametrize(
    ("said", "labels", "status"),
    [
        ("Progressing", CLOCK, {}),
        ("Healthy", CLOCK, {"lastScheduleTime": EARLY, "lastSuccessfulTime": LATE}),
        ("Degraded", CLOCK, {"lastScheduleTime": LATE, "lastSuccessfulTime": EARLY}),
        ("Degraded", CLOCK, {"lastScheduleTime": LATE}),
        ("Healthy", {}, {"lastScheduleTime": LATE}),
    ],
)
def test_argo_cd_s_health_check_says(said: str, labels: dict[str, str], status: dict[str, str]) -> None:
    (script,) = (
        each["data"]["resource.customizations.health.batch_CronJob"]
        for each in documents("argocd")
        if each["kind"] == "ConfigMap"
    )
    job = {"metadata": {"labels": labels}, "spec": {}, "status": status}
    program = (
        "import json, sys, lupa; given = json.load(sys.stdin); lua = lupa.LuaRuntime();"
        "lua.globals().obj = lua.table_from(given['job'], recursive=True); print(lua.execute(given['script']).status)"
    )

    done = subprocess.run(
        [LUA, "-c", program],
        input=json.dumps({"job": job, "script": script}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (said, "") == (done.stdout.strip(), done.stderr)
