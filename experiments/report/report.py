"""`tafukt report DIR`: a result folder as one HTML page that needs no network and runs nothing of the user's.

The template escapes all text; the page's own script, which sorts tables, is the only one that its content
security policy lets run, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tafukt.experiments.figures import catalogue as figures
from tafukt.experiments.figures.style import lay_out, save
from tafukt.experiments.report.explorer import embedded
from tafukt.experiments.report.pareto import points
from tafukt.experiments.report.sources import assumptions
from tafukt.experiments.results import statistics
from tafukt.experiments.results.answer import against_base_lines
from tafukt.experiments.results.answer import answer as sentences
from tafukt.experiments.results.dictionary import column
from tafukt.experiments.results.grid_events import TIERS
from tafukt.experiments.results.load import Results, load
from tafukt.experiments.results.meter import WHAT, agreements
from tafukt.experiments.results.numbers import in_currency, number_text
from tafukt.experiments.results.objective import OBJECTIVE_CUTS, OBJECTIVE_LIMITS, limits_of
from tafukt.experiments.results.stored import EXPERIMENT
from tafukt.experiments.results.summary import AGAINST_BASE_COLUMNS, least_possible

if TYPE_CHECKING:
    import pandas as pd

TEMPLATES = Path(str(files("tafukt.experiments") / "templates"))
SVG_LIMIT = 120_000
PNG_DPI = 110
COLUMNS = (
    "draw_kwh",
    "grid_cut",
    "captured",
    "renewable_fraction",
    "cost_mad",
    "emissions_kg",
    "wait_mean_h",
    "deadline_miss_rate",
    "jobs_left",
)
CELLS_MOST = 24
"""Cells of the manifest in a page: of 2,000 they would be 44,000 rows, more than half of the page."""
REQUESTS_MOST = 200
"""Rows of the grid's requests in a page; all are in the folder."""
REQUEST_SUMS = ("asked_kwh", "delivered_kwh", "shortfall_kwh", "income_mad")
PAIRED = ("draw_kwh", "emissions_kg", "cost_mad", "wait_mean_h", "jct_mean_h")


def write_report(folder: str | Path, path: Path | None = None) -> Path:
    """Write the page of a result folder, `DIR/report.html` where no other path is given.

    Raises
    ------
    FolderError, InputError
        If the folder is none, or nothing in it is complete.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())  # its own keeps what is freed: 150 MB over a report of a month
    results = load(folder)
    target = path or results.folder / "report.html"
    target.write_text(page(results), encoding="utf-8")
    return target


def page(results: Results) -> str:
    """The whole page as text: the same for the same folder."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    script = "\n".join(
        [_comment(_text("uplot.LICENSE")), _text("uplot.iife.min.js"), _text("report.js"), _text("explorer.js")]
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.jinja").render(
        script=script,
        script_hash=digest,
        style=_text("uplot.min.css") + _text("report.css"),
        **template_variables(results),
    )


def code(text: str) -> str:
    """HTML of a sentence in which keys stand between backticks."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _comment(licence: str) -> str:
    return f"/*! uPlot: {licence.strip()} */"


def embedded_json(value: Any) -> str:
    """Plain data for a script element, which nothing in it can close."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def template_variables(results: Results) -> dict[str, Any]:
    """Variables of the template."""
    rows = results.complete
    planned = figures.plan(results)
    of_examples = {"sites": _sites(results), "grid_requests": _grid_requests(results), "meters": _meters(results)}
    explored = embedded(results) | {"folder": str(results.folder.name)}
    pairs = statistics.paired_differences(rows, results.axes, results.baseline, PAIRED)
    return _said_in(
        results.currency,
        {
            "title": results.title,
            "question": results.question,
            "currency": results.currency,
            "answer": answer_lines(results),
            "warnings": [
                *statistics.warnings(rows, results.axes, [pair for pair in pairs if pair.metric == "draw_kwh"]),
                *results.manifest.get("notes", []),
            ],
            "comparison": _comparison(results),
            "pareto": points(statistics.means(rows, results.axes, ("draw_kwh", "wait_mean_h"))),
            "explorer": explored,
            "explorer_json": embedded_json(explored),
            "paired": _paired(pairs),
            "scenarios": bool(results.axes),
            "figures": [_figure(item, drawn, n) for n, (item, drawn) in enumerate(figures.draw_all(planned), 1)],
            **of_examples,  # before other runs are opened, while their tables are there
            "assumptions": assumptions(results.experiment, _site_models(results)),
            "runs": _runs(results),
            "provenance": _provenance(results),
            "glossary": [
                {"name": one.name, "description": one.description}
                for one in (
                    column("summary", name)
                    for name in (*COLUMNS, *OBJECTIVE_CUTS, *OBJECTIVE_LIMITS, *AGAINST_BASE_COLUMNS)
                )
            ],
        },
    )


IN_MONEY = ("answer", "warnings", "comparison", "paired", "glossary")
"""Parts of the page that speak of money, which the tables have in MAD."""


def _said_in(currency: str, page: dict[str, Any]) -> dict[str, Any]:
    if currency == "MAD":
        return page
    return {key: _with_currency(part, currency) if key in IN_MONEY else part for key, part in page.items()}


def _with_currency(value: Any, currency: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_currency(inner, currency) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_currency(inner, currency) for inner in value]
    return in_currency(value, currency) if isinstance(value, str) else value


# --- the answer ----------------------------------------------------------------------------------------


def answer_lines(results: Results) -> list[str]:
    """The answer in a few sentences, the number first; over a matrix, how far it ranges."""
    frame = results.complete
    rows = frame.to_dict(orient="records")
    return [
        *sentences(rows, results.baseline, results.axes, lambda values: statistics.mean_interval(values)[1]),
        *against_base_lines(rows, results.baseline_scenario, results.axes),
        least_possible(rows, results.axes),
        _setting(frame),
    ]


def _setting(rows: pd.DataFrame) -> str:
    """Sun in relation to the load, and how busy the GPUs were, in a sentence."""
    sun, busy = rows["sun_to_load"].dropna(), rows["utilisation"].dropna()
    if sun.empty or busy.empty:
        return ""
    return (
        f"There was {_range(sun, '{:.2f}')} times as much sun as load, and the GPUs were "
        f"{_range(busy * 100, '{:.0f}')} % busy while jobs arrived."
    )


def _range(values: pd.Series[float], text: str) -> str:
    low, high = text.format(values.min()), text.format(values.max())
    return low if low == high else f"{low} to {high}"


# --- tables --------------------------------------------------------------------------------------------


def _comparison(results: Results) -> dict[str, Any]:
    """Means over seeds for each scenario and policy."""
    columns = tuple(dict.fromkeys((*COLUMNS, *limits_of(results.complete))))
    columns += AGAINST_BASE_COLUMNS if results.complete["draw_against_base_kwh"].notna().any() else ()
    table = statistics.means(results.complete, results.axes, columns)
    heads = [{"text": "policy", "unit": ""}] + [_head(name) for name in columns]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        measured = [_measured(name, row[name], row[f"{name}_half"]) for name in columns]
        groups.setdefault(row["group"], []).append(
            {"policy": row["policy"], "cells": [_cell(row["policy"]), *measured]}
        )
    return {"heads": heads, "groups": groups, "seeds": int(table["seeds"].max()) if len(table) else 0}


def _paired(pairs: Sequence[statistics.Paired]) -> list[dict[str, Any]]:
    return [
        {
            "group": pair.group,
            "policy": pair.policy,
            "other": pair.other,
            "metric": _head(pair.metric),
            "seeds": pair.seeds,
            "difference": _measured(pair.metric, pair.difference, math.nan, sign=True),
            "interval": (
                "" if math.isnan(pair.low) else f"{_number(pair.metric, pair.low)} to {_number(pair.metric, pair.high)}"
            ),
            "p": "" if math.isnan(pair.p_holm) else f"{pair.p_holm:.3f}" if pair.p_holm >= 0.001 else "< 0.001",
        }
        for pair in pairs
    ]


def _sites(results: Results) -> dict[str, Any]:
    """Rows on the sites, and what fed them under the policy that drew least."""
    run = figures.example_runs(results)[-1]
    sums = run.energy.groupby("site", sort=False)[
        ["site_kwh", "pv_available_kwh", "pv_to_load_kwh", "discharge_pv_kwh", "grid_import_kwh", "emissions_kg"]
    ].sum()
    gpus = run.energy.groupby("site")["online_gpus"].max().to_dict()
    jobs = run.jobs["site"].value_counts().to_dict()
    rows = []
    for name, row in sums.iterrows():
        facts = results.sites.get(str(name), {})
        share = (row["pv_to_load_kwh"] + row["discharge_pv_kwh"]) / row["site_kwh"] if row["site_kwh"] else math.nan
        numbers = [
            gpus.get(name, 0), jobs.get(name, 0), row["site_kwh"], row["pv_available_kwh"], row["grid_import_kwh"],
            row["emissions_kg"],
        ]  # fmt: skip
        rows.append(
            [
                _cell(facts.get("title") or name),
                _cell(facts.get("region_title") or facts.get("region") or ""),
                _cell(facts.get("status", "")),
                *(_cell(f"{number:,.0f}", number) for number in numbers),
                _cell("" if math.isnan(share) else f"{share:.0%}", share),
            ]
        )
    heads = ["site", "region", "status", "GPUs", "jobs ended here", "load [kWh]", "sun [kWh]", "grid import [kWh]"]
    heads += ["emissions [kg]", "share of the sun"]
    return {"policy": str(run.row["policy"]), "seed": run.row["seed"], "heads": heads, "rows": rows}


def _grid_requests(results: Results) -> list[dict[str, Any]]:
    """Rows on the grid's requests under the policies that are shown; the largest of many."""
    tables = []
    for run in figures.example_runs(results):
        if not run.grid_asked:
            continue
        asked = run.grid_events
        kept = asked.nlargest(REQUESTS_MOST, "asked_kwh").sort_values(["start_h", "site"], kind="stable")
        begun = kept["start_utc"].dt.tz_convert(run.tz)
        tables.append(
            {
                "policy": str(run.row["policy"]),
                "seed": run.row["seed"],
                "tz": run.tz,
                "number": len(asked),
                "left_out": len(asked) - len(kept),
                "met": int(asked["met"].sum()),
                "sums": {name: f"{asked[name].sum():,.0f}" for name in REQUEST_SUMS},
                "rows": [
                    [
                        _cell(row["site"]),
                        _cell(f"{begin:%Y-%m-%d %H:%M}"),
                        *(_amount(float(row[name])) for name in REQUEST_SUMS[:3]),
                        _cell("yes" if row["met"] else f"no: {row['minutes_above']} min above"),
                        *(_cell(*_percent(float(row[f"throughput_{tier}"]))) for tier in TIERS),
                        _amount(float(row["income_mad"])),
                    ]
                    for begin, (_, row) in zip(begun, kept.iterrows(), strict=True)
                ],
            }
        )
    return tables


def _meters(results: Results) -> list[dict[str, Any]]:
    """Rows on the distance of the model from the sites' meters."""
    return [
        {
            "policy": str(run.row["policy"]),
            "seed": run.row["seed"],
            "rows": [
                [
                    _cell(one.site),
                    _cell(WHAT[one.of]),
                    *(_amount(value) for value in (one.hours, one.measured_kwh, one.modelled_kwh, one.bias_kw)),
                    _cell(*_signed(one.bias)),
                    _amount(one.rmse_kw),
                    _cell(*_percent(one.rmse)),
                ]
                for one in agreements(run.meter)
            ],
        }
        for run in figures.metered_runs(results)
    ]


def _signed(share: float) -> tuple[str, float]:
    text = "" if math.isnan(share) else number_text("{:+.1%}", share).replace("-", "−")
    return text, share


def _amount(value: float) -> dict[str, Any]:
    return _cell(number_text("{:,.1f}", value).replace("-", "−"), value)


def _percent(share: float) -> tuple[str, float]:
    return "" if math.isnan(share) else f"{share:.0%}", share


def _site_models(results: Results) -> Mapping[str, Any] | None:
    """The experiment's sites, validated; `None` where this version cannot read them."""
    from pydantic import ValidationError

    from tafukt.experiments.config.schema import SitesTable
    from tafukt.experiments.config.sites import resolve

    try:
        table = SitesTable.model_validate(results.experiment.get("sites", {}))
    except ValidationError:
        return None
    sites, problems = resolve(table, str(results.folder / EXPERIMENT), results.folder.resolve())
    return None if problems else sites


def _runs(results: Results) -> list[dict[str, Any]]:
    """Every run with its status; the reason where it failed."""
    reasons = {name: entry.get("reason", "") for name, entry in results.manifest.get("runs", {}).items()}
    names = ("run", "policy", "seed", "status")
    columns = (results.summary[name].tolist() for name in names)
    return [dict(zip(names, row, strict=True), reason=reasons.get(row[0], "")) for row in zip(*columns, strict=True)]


def _provenance(results: Results) -> list[tuple[str, str]]:
    """The manifest, flattened, but for its runs; of many cells the first."""
    rows: list[tuple[str, str]] = []

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix}.{key}" if prefix else str(key), inner)
        elif value not in (None, [], {}, ""):
            rows.append((prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))

    cells = results.manifest.get("cells", {})
    left = len(cells) - CELLS_MOST
    kept = {"cells": dict(islice(cells.items(), CELLS_MOST))} if left > 0 else {}
    add("", {key: value for key, value in (results.manifest | kept).items() if key != "runs"})
    return [*rows, ("cells", f"{left:,} more in manifest.json")] if left > 0 else rows


# --- cells ---------------------------------------------------------------------------------------------


def _head(metric: str) -> dict[str, str]:
    found = column("summary", metric)
    return {"text": found.label, "unit": found.shown_unit}


def _cell(text: Any, value: Any = None) -> dict[str, Any]:
    """A table cell: its text, and what it is sorted by."""
    key = "" if value is None or (isinstance(value, float) and math.isnan(value)) else repr(float(value))
    return {"text": str(text), "key": key, "number": value is not None, "spread": ""}


def _measured(metric: str, value: float, half: float, sign: bool = False) -> dict[str, Any]:
    """A measured value with its interval; blank where there is none."""
    if math.isnan(value):
        return _cell("", math.nan)
    text = _number(metric, value, sign="+" if sign else "")
    spread = f"± {_number(metric, half, like=value)}" if not math.isnan(half) and half > 0 else ""
    return _cell(text, value) | {"spread": spread}


def _number(metric: str, value: float, like: float | None = None, sign: str = "") -> str:
    """A number with the digits that its size is worth, or those of the number beside it."""
    if column("summary", metric).percent:
        return number_text(f"{{:{sign}.1f}}", value * 100).replace("-", "−")
    large = abs(value if like is None else like) >= 100 or metric == "jobs_left"
    return number_text(f"{{:{sign},.{0 if large else 2}f}}", value).replace("-", "−")


def _figure(planned: figures.Planned, drawn: Any | None, number: int) -> dict[str, Any]:
    """A figure as a data URI: SVG, or PNG where the SVG would be large; without one where drawing fails."""
    uri = ""
    if drawn is not None:
        try:
            data, kind = _bytes(drawn)
            uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        except Exception as error:  # what is laid out only now may fail, too
            figures.warn_of(planned, error)
    wide = planned.figure in ("policies", "pareto")
    return {"uri": uri, "caption": planned.caption, "number": number, "wide": wide}


class _TooLarge(Exception):
    """More is written than a buffer takes."""


class _Limited(io.BytesIO):
    """A buffer of at most `SVG_LIMIT` bytes: a figure of 11 MB is given up once it is known to be too large."""

    def write(self, data: Any) -> int:
        """Write more; raises `_TooLarge` where it is too much."""
        if self.tell() + len(data) > SVG_LIMIT:
            raise _TooLarge
        return super().write(data)


POINT_BYTES, DOTS_BYTES = 24, 250_000
"""Of an SVG: of a point of an outline, and of a hatch of dots, each of which is a circle."""


def _large(figure: Any) -> bool:
    """Whether a figure would be too large an SVG, from the points of its outlines and lines."""
    size = 0
    for ax in figure.axes:
        for artist in (*ax.collections, *ax.lines):
            paths = artist.get_paths() if hasattr(artist, "get_paths") else [artist.get_path()]
            size += POINT_BYTES * sum(len(path.vertices) for path in paths if not artist.get_rasterized())
        dotted = any("." in (artist.get_hatch() or "") for artist in (*ax.collections, *ax.patches))
        size += DOTS_BYTES * dotted
    return size > SVG_LIMIT


def _bytes(figure: Any) -> tuple[bytes, str]:
    """A figure in a file's bytes, and of what type they are; laid out once, for both formats."""
    lay_out(figure)
    buffer: io.BytesIO = _Limited()
    try:
        if not _large(figure):
            save(figure, buffer, "svg")
            return buffer.getvalue(), "svg+xml"
    except _TooLarge:
        pass
    save(figure, buffer := io.BytesIO(), "png", dpi=PNG_DPI)
    return buffer.getvalue(), "png"
