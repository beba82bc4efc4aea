"""The `[sites]` table: a site of the catalogue or one's own, then `all`, then `change` over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tafukt.experiments.config.schema import SitesTable
from tafukt.experiments.config.toml import Document, flat, put
from tafukt.experiments.errors import Problem, listed, nearest, shown
from tafukt.sites.site import SiteError, SiteModel, catalogue, merged, site_from
from tafukt.strict import Location, dotted

MOROCCO = "morocco"


def resolve(
    table: SitesTable, file: str, folder: Path, known: tuple[SitesTable, Mapping[str, SiteModel]] | None = None
) -> tuple[dict[str, SiteModel], list[Problem]]:
    """Every site of an experiment by name, in the order given, and what is wrong with the table.

    `known` are another table and its sites, of the same folder: a site of which both say the same is taken over.
    """
    if known is not None and table is known[0]:
        return dict(known[1]), []
    names, problems = _names(table, file)
    sites: dict[str, SiteModel] = {}
    for name in names:
        base, layers = _layers(table, name, file, problems)
        values = _values(layers)
        if known is not None and name in known[1] and (base, values) == _said(known[0], name, file):
            sites[name] = known[1][name]
            continue
        try:
            sites[name] = site_from(values, base, f"{file}: sites.{name}", folder, name)
        except SiteError as error:
            problems.extend(_told(error, layers, name, file))
        if known is None:
            problems.extend(_overridden(values, base, layers, name, file, folder))
    return sites, list(dict.fromkeys(problems))


def _overridden(
    values: Document, base: str | None, layers: list[tuple[Location, Document]], name: str, file: str, folder: Path
) -> list[Problem]:
    """Mistakes in values of a site that a later table overrides: they are mistakes all the same."""
    found: list[Problem] = []
    for number, (_, layer) in enumerate(layers[:-1]):
        later = _values(layers[number + 1 :])
        piece: Document = {}
        for key, value in flat(layer):
            if _says(later, key):
                put(piece, key, value, file)
        if not piece:
            continue
        try:
            site_from(merged(values, piece), base, f"{file}: sites.{name}", folder, name)
        except SiteError as error:
            problems = [one for one in error.problems if _says(piece, one.key)]
            found.extend(_told(SiteError(problems), layers[: number + 1], name, file) if problems else [])
    return found


def _values(layers: list[tuple[Location, Document]]) -> Document:
    values: Document = {}
    for _, layer in layers:
        values = merged(values, layer)
    return values


def _said(table: SitesTable, name: str, file: str) -> tuple[str | None, Document]:
    base, layers = _layers(table, name, file, [])
    return base, _values(layers)


def _names(table: SitesTable, file: str) -> tuple[list[str], list[Problem]]:
    known = catalogue()
    use = table.use if table.use != "" else ([] if table.own else MOROCCO)
    wanted = list(known) if use == MOROCCO else [use] if isinstance(use, str) else list(use)
    problems = []
    for position, name in enumerate(wanted):
        key = f"sites.use[{position}]" if isinstance(use, list) else "sites.use"
        if name not in known:
            near = nearest(name, [*known, MOROCCO])
            problems.append(Problem(file, key, f"no site {name!r}; known: {MOROCCO}, {listed(known)}", near))
        elif name in wanted[:position]:
            problems.append(Problem(file, key, f"{name!r} is listed twice"))
    for name in table.own:
        if name in wanted:
            problems.append(Problem(file, f"sites.own.{name}", "is also in sites.use; give it another name"))
    names = [name for name in dict.fromkeys(wanted) if name in known]
    names += [name for name in table.own if name not in names]
    for name in table.change:
        if name not in names:
            problems.append(
                Problem(
                    file, f"sites.change.{name}", f"no such site here; known: {listed(names)}", nearest(name, names)
                )
            )
    if not names and not problems:
        problems.append(Problem(file, "sites.use", "names no site at all"))
    return names, problems


def _layers(
    table: SitesTable, name: str, file: str, problems: list[Problem]
) -> tuple[str | None, list[tuple[Location, Document]]]:
    """The catalogue site to start from, and the tables put over it with the place where each stands."""
    base: str | None = name
    layers: list[tuple[Location, Document]] = []
    if name in table.own:
        own, base = dict(table.own[name]), None
        like = own.get("like")
        if like is not None and (not isinstance(like, str) or like not in catalogue()):
            known = list(catalogue())
            key = f"sites.own.{name}.like"
            problems.append(
                Problem(file, key, f"no site {shown(like)}; known: {listed(known)}", nearest(str(like), known))
            )
            del own["like"]
        layers.append((("sites", "own", name), own))
    layers.append((("sites", "all"), table.all))
    layers.append((("sites", "change", name), table.change.get(name, {})))
    return base, layers


def _told(error: SiteError, layers: list[tuple[Location, Document]], name: str, file: str) -> list[Problem]:
    return [
        Problem(file, _where(problem.key, layers, name), problem.message, problem.nearest) for problem in error.problems
    ]


def _where(key: str, layers: list[tuple[Location, Document]], name: str) -> str:
    """The place in the file that a key of a merged site came from: the last table that says it."""
    for place, layer in reversed(layers):
        if key and _says(layer, key):
            return f"{dotted(place)}.{key}"
    place = layers[0][0] if len(layers) == 3 else ("sites", name)
    return f"{dotted(place)}.{key}" if key else dotted(place)


def _says(layer: Any, key: str) -> bool:
    for part in key.split("["[0])[0].split("."):
        if not isinstance(layer, dict) or part not in layer:
            return False
        layer = layer[part]
    return True
