"""Whatever version 0.1 offered is offered still: presets, parts, keys, columns, figures, commands, catalogues.

`tests/data/offered_0_1.json` was written by the code of 0.1 itself. What has been taken away on purpose is named below,
with the reason; anything else that is missing has been lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from tafukt.experiments.cli.app import app
from tafukt.experiments.config import toml
from tafukt.experiments.config.schema import json_schema
from tafukt.experiments.figures.catalogue import FIGURES
from tafukt.experiments.results.dictionary import METRICS, TABLES
from tafukt.simulator.policies.presets import PRESETS
from tafukt.simulator.policies.registry import PARTS
from tafukt.sites.site import SiteModel, catalogue
from tafukt.workloads.bundled import bundled

OLD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "offered_0_1.json").read_text(encoding="utf-8"))
GONE = {
    "carbon.accounting": "nothing in the books is marginal",
    "climate.tmean_c": "a mean that no model reads; the monthly ones are",
    "climate.clearsky_index": "it follows from ghi_kwh_m2_d and the computed clear sky",
    "climate.clearsky_ghi_kwh_m2_d": "the clear sky is computed from the place",
}
"""Keys, by their last two words, that had no effect and are refused now."""


def keys(part: Any, root: Any, prefix: str = "", seen: tuple[str, ...] = ()) -> set[str]:
    """Every dotted key that a JSON schema allows; `*` stands for names of the user's own."""
    if "$ref" in part:
        name = part["$ref"].split("/")[-1]
        return set() if name in seen else keys(root["$defs"][name], root, prefix, (*seen, name))
    found: set[str] = set()
    for inner in (*part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())):
        found |= keys(inner, root, prefix, seen)
    for key, value in part.get("properties", {}).items():
        found |= {f"{prefix}{key}"} | keys(value, root, f"{prefix}{key}.", seen)
    if isinstance(part.get("items"), dict):
        found |= keys(part["items"], root, prefix, seen)
    if isinstance(part.get("additionalProperties"), dict):
        found |= keys(part["additionalProperties"], root, f"{prefix}*.", seen)
    return found


def offered() -> dict[str, set[str]]:
    """The same lists of the code as it is."""
    command: Any = typer.main.get_command(app)
    whole, site = json_schema(), SiteModel.model_json_schema()
    return {
        "presets": set(PRESETS),
        **{f"parts {kind}": set(parts) for kind, parts in PARTS.items()},
        "figures": set(FIGURES),
        **{f"command {name}": {o for p in c.params for o in p.opts} for name, c in command.commands.items()},
        **{f"columns {table}": {column.name for column in columns} for table, columns in TABLES.items()},
        "metrics": set(METRICS) if isinstance(METRICS, dict) else {column.name for column in METRICS},
        "keys": keys(whole, whole),
        "site_keys": keys(site, site),
        "sites": set(catalogue()),
        "mixes": set(bundled("mixes")),
        "traces": set(bundled("traces")),
        "experiments": set(toml.bundled()),
    }


def before() -> dict[str, set[str]]:
    flat: dict[str, set[str]] = {}
    for name, value in OLD.items():
        word = {"parts": "parts", "commands": "command", "columns": "columns"}.get(name)
        flat |= {f"{word} {key}": set(names) for key, names in value.items()} if word else {name: set(value)}
    return flat


@pytest.mark.parametrize("what", sorted(before()))
def test_nothing_that_was_offered_is_lost(what: str) -> None:
    missing = before()[what] - offered().get(what, set())
    assert {name for name in missing if ".".join(name.split(".")[-2:]) not in GONE} == set()
