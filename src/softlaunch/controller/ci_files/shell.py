"""
The shell scripts that all systems run, in words of POSIX sh.

What a person typed comes in variables and is never pasted into a script. A reference is looked at before git sees it:
one that begins with a dash would be an option.
"""

from __future__ import annotations

import shlex

from softlaunch.controller.ci_files import plan as plans

CAREFUL = "set -eu\n"
"""How each script of several lines begins: it ends at the first command that fails."""
_ROLL_BACK = """\
set -eu
case "$ROLLBACK_ENVIRONMENT" in
  {environments}) ;;
  *) echo "There is no such environment." >&2; exit 2 ;;
esac
case "$ROLLBACK_REF" in
  "" | -* | *[!A-Za-z0-9._/@^~+-]*) echo "That is no commit, tag or branch." >&2; exit 2 ;;
esac
"""
_FIND = """\
target=""
if [ "$ROLLBACK_REF" = previous ]; then
  target=previous
else
  for name in "refs/tags/$ROLLBACK_REF" "refs/remotes/origin/$ROLLBACK_REF" "$ROLLBACK_REF"; do
    if target="$(git rev-parse --quiet --verify "$name^{commit}")"; then break; fi
  done
fi
if [ -z "$target" ]; then echo "There is no such commit, tag or branch." >&2; exit 2; fi
"""
_GO_BACK = """\
set -- --service {service} --env "$ROLLBACK_ENVIRONMENT" --reason="$ROLLBACK_REASON"
softlaunch rollback --to "$target" "$@"
"""
_SYNC = """\
set -eu
softlaunch sync {service}
turns=0
until softlaunch sync {service} --status; do
  turns=$((turns + 1))
  if [ "$turns" -ge {turns} ]; then echo "It does not run what its branch says." >&2; exit 1; fi
  sleep 15
done
"""


def roll_back(plan: plans.Plan, *, checked_out: bool = True) -> str:
    """
    Goes back to $ROLLBACK_REF (commit, tag, branch or `previous`) in $ROLLBACK_ENVIRONMENT, for $ROLLBACK_REASON.

    In a checkout softlaunch is asked for the commit that the reference names, for a tag may be younger than the
    release it stands on. Elsewhere the control plane is asked for the reference itself: it knows what was built under
    which name.
    """
    environments = " | ".join(shlex.quote(name) for name in plan.environments)
    find = _FIND if checked_out else 'target="$ROLLBACK_REF"\n'
    return _ROLL_BACK.format(environments=environments) + find + _GO_BACK.format(service=shlex.quote(plan.service))


def ship(plan: plans.Plan, environment: str, *, commit: str, by: str) -> str:
    """Ships what the variable named `commit` says, in the name of the one in the variable `by`."""
    place = f" --dir {shlex.quote(plan.folder)}" if plan.folder else ""
    return f'softlaunch ship "${commit}" --env {shlex.quote(environment)} --by="${by}"{place}\n'


def install(plan: plans.Plan) -> str:
    """Puts softlaunch into the Python at hand."""
    return f'python -m pip install "softlaunch=={plan.version}"\n'


def check(plan: plans.Plan) -> str:
    """
    Tests, quality gates and the build of what is checked out, which nobody launches.

    Not `softlaunch lock --check`: it asks what sources say now, and a model that was registered since would fail a
    pull request that has nothing to do with it.
    """
    place = f" --dir {shlex.quote(plan.folder)}" if plan.folder else ""
    return f"softlaunch build HEAD{place}\n"


def sync(plan: plans.Plan, *, minutes: int) -> str:
    """Lets the control plane ask the git server now, and waits until every environment is what its branch says."""
    return _SYNC.format(service=shlex.quote(plan.service), turns=minutes * 4)


def status(plan: plans.Plan) -> str:
    """Exits 1 while an environment does not run what its branch says; installs softlaunch for the user first."""
    return f"set -eu\n{install_for_user(plan)}softlaunch sync {shlex.quote(plan.service)} --status\n"


def install_for_user(plan: plans.Plan) -> str:
    """As `install`, where the Python belongs to somebody else."""
    return f'export PATH="$HOME/.local/bin:$PATH"\npython -m pip install --quiet --user "softlaunch=={plan.version}"\n'
