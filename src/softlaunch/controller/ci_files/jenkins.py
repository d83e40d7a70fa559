"""
Jenkinsfiles, declarative.

Scripts stand in single quotes, so that Groovy puts nothing into them: what was typed reaches them as variables. A
rollback is a job of its own, which waits for no ship.
"""

from __future__ import annotations

import textwrap

from softlaunch.controller.ci_files import documents, plan, shell

_DEEP = " " * 20
"""Where the lines of a script begin."""
_SHIPS = """\
pipeline {{
    agent none
    options {{
        buildDiscarder(logRotator(numToKeepStr: '50'))
        skipDefaultCheckout()
        timeout(time: 6, unit: 'HOURS')
        timestamps()
    }}
    stages {{
        stage('Checks') {{
            when {{ changeRequest() }}
            agent {{ label 'python' }}
            options {{ timeout(time: 60, unit: 'MINUTES') }}
            environment {{
                // Kept in the workspace between builds: packages are fetched once.
                PIP_CACHE_DIR = "${{env.WORKSPACE}}/.cache/pip"
                UV_CACHE_DIR = "${{env.WORKSPACE}}/.cache/uv"
            }}
            steps {{
                checkout scm
                sh '''
{check}
                '''
            }}
        }}
{stages}    }}
}}
"""
_SHIP = """\
        stage({title}) {{
            when {{ branch pattern: {branch}, comparator: 'EQUALS' }}
            agent {{ label 'softlaunch' }}
            options {{ lock({lock}) }}
            steps {{
                checkout scm
                sh '''
{ship}
                '''
            }}
        }}
"""
_ROLLBACK = """\
pipeline {{
    agent {{ label 'softlaunch' }}
    options {{
        buildDiscarder(logRotator(numToKeepStr: '50'))
        disableConcurrentBuilds()
        skipDefaultCheckout()
        timeout(time: 15, unit: 'MINUTES')
        timestamps()
    }}
    parameters {{
        string(name: 'ROLLBACK_REF', defaultValue: 'previous', trim: true,
            description: 'Commit, tag or branch to go back to; previous: what ran before')
        choice(name: 'ROLLBACK_ENVIRONMENT', choices: [{environments}], description: 'Where')
        string(name: 'ROLLBACK_REASON', defaultValue: 'Asked on Jenkins', trim: true,
            description: 'Why, for the history')
    }}
    stages {{
        stage('Go back') {{
            steps {{
                checkout scmGit(
                    branches: scm.branches,
                    extensions: [cloneOption(noTags: false, shallow: false)],
                    userRemoteConfigs: scm.userRemoteConfigs
                )
                sh '''
{roll_back}
                '''
            }}
        }}
    }}
}}
"""


def export(asked: plan.Plan) -> plan.Exported:
    stages = "".join(
        _SHIP.format(
            title=_quoted(f"Ship to {way.environment}"),
            branch=_quoted(way.branch),
            lock=_quoted(f"softlaunch-ship-{asked.service}-{way.environment}"),
            ship=_script(shell.ship(asked, way.environment, commit="GIT_COMMIT", by="BUILD_TAG")),
        )
        for way in asked.ways
    )
    check = _script(f"python3 -m venv .venv\n. .venv/bin/activate\n{shell.install(asked)}{shell.check(asked)}")
    environments = ", ".join(_quoted(name) for name in reversed(asked.environments))
    place = f"{asked.folder}/" if asked.folder else ""
    return plan.Exported(
        files={
            f"{place}Jenkinsfile": documents.comment(
                "Checks of pull requests and a ship for each merge. Needs the plugins Pipeline, Git, Timestamper and\n"
                "Lockable Resources.",
                "//",
            )
            + _SHIPS.format(check=check, stages=stages),
            f"{place}Jenkinsfile.rollback": documents.comment(
                "A rollback by hand: Build with Parameters. A pipeline job of its own, from this file.", "//"
            )
            + _ROLLBACK.format(environments=environments, roll_back=_script(shell.roll_back(asked))),
        },
        next_steps=(
            (
                "Make an agent with the label softlaunch on the control plane's machine, "
                "as the user who runs `softlaunch up`."
            ),
            "Make an agent with the label python (git and Python 3.11), which reaches nothing of production.",
            f"Make a multibranch pipeline of {place}Jenkinsfile, and a pipeline of {place}Jenkinsfile.rollback.",
            "Let only those who may deploy start the second, and build only trusted people's pull requests.",
        ),
    )


def _script(text: str) -> str:
    """Of a string of Groovy in three single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
    return textwrap.indent(f"set -eu\n{escaped.removeprefix(shell.CAREFUL)}".rstrip(), _DEEP)


def _quoted(text: str) -> str:
    """A string of Groovy."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
