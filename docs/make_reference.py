"""Reference pages of the site, made from the code: `python docs/make_reference.py` writes `docs/reference/`.

Nothing there is edited or committed; `make docs` makes it anew.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

import tafukt
from tafukt.experiments.config import toml
from tafukt.experiments.config.schema import Experiment
from tafukt.simulator.policies.presets import PRESETS
from tafukt.simulator.policies.registry import PARTS, QUESTIONS, references, says
from tafukt.sites.site import SiteModel
from tafukt.workloads.mix import MixModel
from tafukt.workloads.traces.column_map import ColumnMap

DOCS = Path(__file__).resolve().parent
OUT = DOCS / "reference"
LONGEST_DEFAULT = 120
TYPE_WORDS = {
    "object": "table",
    "number": "number",
    "integer": "whole number",
    "string": "text",
    "boolean": "`true` or `false`",
}
"""Types of JSON Schema, as people call them."""


def _toml(value: Any) -> str:
    """A value as it is written in an experiment file."""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind(part: dict[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(_toml(value) for value in part["enum"])
    if "const" in part:
        return _toml(part["const"])
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_kind(each) for each in part["anyOf"] if each.get("type") != "null"))
    if "$ref" in part:
        return f"[{part['$ref'].rsplit('/', 1)[-1]}](#{part['$ref'].rsplit('/', 1)[-1].lower()})"
    if part.get("type") == "array":
        return f"list of {_kind(part.get('items', {})) or 'values'}"
    limits = [f"{sign} {part[key]:g}" for key, sign in _LIMITS.items() if key in part]
    return TYPE_WORDS.get(str(part.get("type")), "any value") + (f" ({', '.join(limits)})" if limits else "")


_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def keys(model: type[Any], title: str, intro: str) -> str:
    """Every key of a model and of the tables in it, each with type, default and meaning."""
    schema = model.model_json_schema()
    lines = [f"# {title}", "", intro, ""]
    for name, part in [(title, schema), *sorted(schema.get("$defs", {}).items())]:
        if "properties" not in part:
            continue
        lines += [f"## {name}" if part is not schema else "## Top level", ""]
        lines += [
            _cell(str(part.get("description", ""))),
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        needed = set(part.get("required", ()))
        for key, value in part["properties"].items():
            default = "*required*" if key in needed else _default(value)
            lines.append(
                f"| `{key}` | {_cell(_kind(value))} | {_cell(default)} | {_cell(value.get('description', ''))} |"
            )
        lines.append("")
    return "\n".join(lines)


def _default(value: dict[str, Any]) -> str:
    """The default of a key; empty where there is none, or none that a table has room for."""
    found = value.get("default")
    return "" if found is None or len(_toml(found)) > LONGEST_DEFAULT else _toml(found)


def policies() -> str:
    """Every preset with its paper, and every part."""
    lines = ["# Policies", "", "`tafukt policies NAME` explains one; tables in an experiment combine parts.", ""]
    lines += ["## Presets", "", "| name | what it does | source |", "|---|---|---|"]
    lines += [f"| `{name}` | {_cell(each.does)} | {_cell(each.source)} |" for name, each in PRESETS.items()]
    for kind, parts in PARTS.items():
        lines += ["", f"## {kind}", "", QUESTIONS[kind], "", "| name | what it does | source |", "|---|---|---|"]
        for name, part in parts.items():
            lines.append(f"| `{name}` | {_cell(says(part))} | {_cell(', '.join(references(part)))} |")
    return "\n".join(lines) + "\n"


def gallery() -> str:
    """The bundled experiments: question, answer, picture, the time that they take, and the file."""
    lines = ["# Gallery", "", "Each bundled experiment asks one question in a page of TOML and runs by name alone."]
    lines += ["Pictures and answers are made by `make gallery`.", ""]
    answers = json.loads((DOCS / "gallery" / "answers.json").read_text(encoding="utf-8"))
    for name, path in toml.bundled().items():
        text = path.read_text(encoding="utf-8")
        lines += [f"## {name}", "", f"**{tomllib.loads(text).get('question', '')}**", ""]
        lines += _made(name, answers[name]) if name in answers else []
        lines += ['??? note "The experiment file"', "", "    ```toml"]
        lines += [f"    {line}".rstrip() for line in text.rstrip().splitlines()] + ["    ```", ""]
    return "\n".join(lines)


def _made(name: str, entry: dict[str, Any]) -> list[str]:
    """Answer and picture of one experiment, and what was changed to make them."""
    changed = " ".join(f"--set '{key}={json.dumps(value)}'" for key, value in entry["changed"].items())
    command = f"tafukt run {name} {changed}".rstrip()
    picture = Image.open(DOCS / "gallery" / f"{name}.png")
    caption = picture.info["Description"]
    return [
        *entry["answer"],
        "",
        f"![{caption.replace('`', '')}](../gallery/{name}.png)",
        "",
        f"{caption}.",
        "",
        f"`{command}` takes about {_seconds(entry['processor_s'])} of processor time."
        + (" Without the settings it runs in full, which takes longer." if changed else ""),
        "",
    ]


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} minutes"


def api() -> str:
    """The public face, by mkdocstrings."""
    lines = ["# Python", "", "`import tafukt`: what is listed here is meant to be used, and stays.", ""]
    lines += [
        line for name in ("run", "validate", "load", "simulate", "policies") for line in (f"::: tafukt.{name}", "")
    ]
    for name in sorted(tafukt.__all__):
        if name[0].isupper():
            thing = getattr(tafukt, name)
            lines += [f"::: {thing.__module__}.{thing.__qualname__}", ""]
    return "\n".join(lines)


def pages() -> Iterator[tuple[str, str]]:
    """Each page's name and text."""
    yield (
        "experiment.md",
        keys(
            Experiment, "Experiment file", "Every key of an experiment. Keys of a site have [their own page](sites.md)."
        ),
    )
    yield (
        "sites.md",
        keys(SiteModel, "Sites", "Every key of a site: under `sites.all`, `sites.change.NAME` and `sites.own.NAME`."),
    )
    yield (
        "mixes.md",
        keys(MixModel, "Job mixes", "Every key of a mix, a TOML file from which jobs are drawn: `workload.mix`."),
    )
    yield (
        "column_maps.md",
        keys(
            ColumnMap,
            "Column maps",
            'Every key of a column map, a TOML file that says how to read a job log: `workload.format = "mine.toml"`.',
        ),
    )
    yield "policies.md", policies()
    yield "gallery.md", gallery()
    yield "api.md", api()
    yield "changelog.md", (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    for file, page in pages():
        (OUT / file).write_text(page, encoding="utf-8")
