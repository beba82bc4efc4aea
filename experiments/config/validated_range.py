"""The range in which Tafukt was compared with anything, and notes on what lies outside; see `docs/validation.md`."""

from __future__ import annotations

from tafukt.experiments.config.load import Loaded
from tafukt.experiments.errors import listed
from tafukt.sites.schema.equipment import NodeModel

LATITUDES = (20.0, 46.0)
SITES_MOST = 50
DAYS_MOST = 366
CAP_LEAST = (
    0.81  # the lowest power cap whose speed was measured on V100, of the power above idle: simulator/power_caps.py
)


def _kind(node: str | NodeModel) -> str:
    """Name of a kind of node, in the catalogue or by the user."""
    return node if isinstance(node, str) else node.title or "own"


def outside(loaded: Loaded) -> list[str]:
    """One line for everything about an experiment that lies outside the validated range."""
    experiment, sites = loaded.experiment, loaded.sites
    lines = []
    low, high = LATITUDES
    far = [name for name, site in sites.items() if not low <= site.lat <= high]
    if far:
        lines.append(f"latitude of {listed(far, 6)}: sun and sky were compared from {low:g} to {high:g} degrees north")
    if len(sites) > SITES_MOST:
        lines.append(f"{len(sites)} sites: not validated beyond {SITES_MOST}")
    if experiment.days > DAYS_MOST:
        lines.append(f"days = {experiment.days}: ageing over more than a year has not been validated")
    lowest = min((power for power, _ in experiment.engine.caps), default=1.0)
    if lowest < CAP_LEAST and not str(experiment.engine.power_caps).startswith("a100"):
        lines.append(
            f"engine.power_caps down to {lowest:g} of the power above idle: speed is measured to {CAP_LEAST:g}, on V100"
        )
    other = sorted({_kind(site.cluster.node) for site in sites.values()} - {"a100"})
    if other:
        lines.append(f"nodes of kind {listed(other, 6)}: power was compared with meters for a100 alone")
    return [f"outside the validated range: {line}" for line in lines]
