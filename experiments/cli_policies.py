"""The command `tafukt policies`: lists policies and parts, explains one, or checks one."""

from __future__ import annotations

from pathlib import Path

from experiments.cli_text import console
from experiments.errors import InputError, Problem, listed, nearest


def policies_command(name: str) -> int:
    """List the presets and the parts, or explain one of them."""
    from simulator.policies.catalogue import PARTS, QUESTIONS, details, rows

    out = console()
    if name:
        known = [row.name for kind in ("", *PARTS) for row in rows(kind)]
        if name not in known:
            message = f"no such policy, nor a part of one; known: {listed(known)}"
            raise InputError(Problem("", name, message, nearest(name, known)))
        for line in details(name):
            out.print(line)
        return 0
    for kind in ("", *PARTS):
        if kind:
            out.print(f"\n{kind}: {QUESTIONS[kind]}", markup=False, style="bold")
        width = max(len(row.name) for row in rows(kind))
        for row in rows(kind):
            out.print(f"{row.name:{width}}  {row.does}")
    out.print(
        '\nA policy of your own: policies = [{ name = "mine", order = "fair", when = "lowest-window" }], or '
        '["my_policy.py:name"], relative to the experiment file. `tafukt policies --check my_policy.py:name` tries it.',
        markup=False,
    )
    return 0


def check_command(name: str) -> int:
    """Run a policy through the conformance kit; 1 where it broke something."""
    from experiments.policy import policy_refs
    from simulator.conformance import CHECKS, check

    refs, problems = policy_refs([name], "", Path.cwd(), key="--check")
    if problems:
        raise InputError(problems)
    found = check(refs[0].load)
    out = console()
    broken = {finding.check for finding in found}
    stopped = {"impossible", "residency", "crash", "endless"} & broken  # then nothing could be compared
    for kind, good in CHECKS.items():
        verdict = "no " if kind in broken else "?  " if stopped else "yes"
        out.print(f"{verdict}  {good}")
        for finding in found:
            if finding.check == kind:
                out.print(f"       {finding.case}: {finding.message}")
    if stopped:
        out.print("?  where it stopped there was nothing to compare")
    return 1 if found else 0
