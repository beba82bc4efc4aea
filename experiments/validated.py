"""What lies outside the range in which Tafukt was compared with anything; see `docs/validation.md`."""

from __future__ import annotations

from experiments.config_load import Loaded
from experiments.errors import listed

LATITUDES = (20.0, 46.0)
SITES_MOST = 50
DAYS_MOST = 366


def outside(loaded: Loaded) -> list[str]:
    """One line for everything about an experiment that lies outside the validated range."""
    experiment, sites = loaded.experiment, loaded.sites
    lines = []
    low, high = LATITUDES
    far = [name for name, site in sites.items() if not low <= site.lat <= high]
    if far:
        lines.append(f"latitude of {listed(far, 6)}: sun and sky were compared from {low:g} to {high:g} degrees north")
    if len(sites) > SITES_MOST:
        lines.append(f"{len(sites)} sites: nothing was compared beyond {SITES_MOST}")
    if experiment.days > DAYS_MOST:
        lines.append(f"days = {experiment.days}: ageing over more than a year was compared with nothing")
    return [f"outside the validated range: {line}" for line in lines]
