"""`tafukt policies` and `schema`: what there is to choose from."""

from __future__ import annotations

import json
import sys

from experiments.cli_text import console
from experiments.errors import InputError, Problem, listed, nearest


def policies_command(name: str) -> int:
    """List the presets, or explain one."""
    from simulator.policies.presets import PRESETS

    out = console()
    if name and name not in PRESETS:
        raise InputError(Problem("", name, f"no such policy; known: {listed(PRESETS)}", nearest(name, PRESETS)))
    width = max(len(key) for key in PRESETS)
    for key, preset in PRESETS.items():
        if not name:
            out.print(f"{key:{width}}  {preset.does}", markup=False)
        elif key == name:
            out.print(f"{key}\n  {preset.does}\n  Source: {preset.source}", markup=False)
            for part, value in vars(preset.parts).items():
                shown = getattr(value, "__name__", value)
                doc = (getattr(value, "__doc__", None) or "").strip().partition("\n")[0] if callable(value) else ""
                if value is not None:
                    out.print(f"  {part:9} {shown}{': ' + doc if doc else ''}", markup=False)
    if not name:
        out.print('\nA policy of your own: policies = ["my_policy.py:name"], relative to the experiment file.')
    return 0


def schema_command() -> int:
    """Print the JSON Schema of experiment files."""
    from experiments.schema import schema

    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    return 0
