"""What `tafukt size` writes: every simulated size as a table, the sized experiment, and a few lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from experiments.sizing import PV_LADDER, Point, Sizing, with_something_to_scale

if TYPE_CHECKING:
    from experiments.config_load import Loaded


def table(found: Sizing) -> Any:
    """Every simulated size as a data frame, cheapest first; `front`: the least PV for its battery that meets it."""
    import pandas as pd

    frame = pd.DataFrame([vars(point) for point in found.points]).rename(columns={"value": found.target.metric})
    frame["meets"] = [point.jobs_left == 0 and found.target.met(point.value) for point in found.points]
    frame["front"] = [any(point is other for other in found.front) for point in found.points]
    frame["chosen"] = [point is found.chosen for point in found.points]
    return frame


def sized_document(loaded: Loaded, point: Point) -> dict[str, Any]:
    """The experiment with the sizes of a point written into every site."""
    resolved = with_something_to_scale(loaded)
    sites = {}
    for name, site in resolved.sites.items():
        update: dict[str, Any] = {}
        if site.pv is not None:
            update["pv"] = site.pv.model_copy(update={"kwp": round(site.pv_kwp * point.pv_factor, 3)})
        if site.battery is not None:
            kwh = round(site.battery_kwh * point.battery_factor, 3)
            update["battery"] = site.battery.model_copy(update=_battery_sizes(site.battery, kwh, point.battery_factor))
        sites[name] = site.model_copy(update=update)
    document = replace(resolved, sites=sites).document()
    document["name"] = f"{loaded.experiment.name}_sized"[:80]
    return document


def _battery_sizes(battery: Any, kwh: float, factor: float) -> dict[str, float]:
    powers = {name: getattr(battery, name) for name in ("charge_kw", "discharge_kw")}
    return {"kwh": kwh} | {name: value * factor for name, value in powers.items() if value is not None}


def summary_lines(found: Sizing) -> list[str]:
    """What the search found, in a few lines."""
    points = found.points
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else f"seed {found.seeds[0]}"
    head = f"{found.policy}, {seeds}: {len(points)} sizes simulated"
    best = found.chosen
    if best is None:
        reached = [point.value for point in points if point.jobs_left == 0]
        if not reached:
            return [head, f"No size finishes all jobs in the accounting window, so {found.target} cannot be judged."]
        nearest_value = max(reached) if found.target.at_least else min(reached)
        return [
            head,
            f"No size up to {PV_LADDER[-1]:g} times the PV meets {found.target}; the best reached {nearest_value:.4g}.",
        ]
    return [
        head,
        f"Cheapest with {found.target}: {best.pv_kwp:,.0f} kWp of PV ({best.pv_factor:.2f} x) and "
        f"{best.battery_kwh:,.0f} kWh of battery ({best.battery_factor:.2f} x), {best.capital_mad / 1e6:,.2f} "
        f"million MAD; it reaches {best.value:.4g}.",
        f"PV at {float(found.prices['mad_per_kwp']):,.0f} MAD/kWp ({found.prices['source']}).",
    ]
