"""The figure of a site's power by the model and by its meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tafukt.experiments.figures.style import (
    BOUND,
    INK,
    MUTED,
    axes_or_new,
    day_numbers,
    finish,
    local_axis,
    under,
    zone_of,
)
from tafukt.experiments.results.meter import WHAT, agreements
from tafukt.experiments.results.numbers import number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def meter(
    data: Any,
    ax: Axes | None = None,
    *,
    site: str = "",
    tz: str = "",
    title: str | None = None,
    legend: bool = True,
) -> Axes:
    """Power of a site by the model and by its meter, mean of each output step that was measured.

    `site` is the first that has a meter where it is not given.

    Raises
    ------
    FolderError
        If no site has a meter.
    ValueError
        If this one has none.
    """
    table = data.meter
    site = site or str(table["site"].iloc[0])
    here = table[table["site"] == site]
    if here.empty:
        raise ValueError(f"site {site!r} has no meter")
    ax = axes_or_new(ax)
    measured, modelled = ((here[name] / here["measured_h"]).to_numpy() for name in ("measured_kwh", "modelled_kwh"))
    times = day_numbers(here["time_utc"])
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    breaks = np.flatnonzero(np.diff(times) > 1.5 * step) + 1  # nothing is drawn where nothing was measured
    ax.plot(*_broken(times, measured, breaks), color=INK, linewidth=1.3, label="measured", drawstyle="steps-post")
    ax.plot(*_broken(times, modelled, breaks), color=BOUND, linewidth=1.1, label="model", drawstyle="steps-post")
    low = np.minimum(measured, modelled).min()
    ax.set_ylim(bottom=min(0.0, 1.05 * float(low)))
    if low < 0:
        ax.axhline(0.0, color=MUTED, linewidth=0.8)
    local_axis(ax, pd.DatetimeIndex(here["time_utc"]), zone_of(data, tz))
    ax.set_ylabel(f"{WHAT[str(here['of'].iloc[0])]} [kW]")
    found = agreements(here)[0]
    apart = f"bias {number_text('{:+.1f}', found.bias_kw)} kW, RMSE {found.rmse_kw:.1f} kW"
    return finish(ax, title, f"{site} by meter and model{under(data)}: {apart}", legend)


def _broken(times: Any, values: Any, breaks: Any) -> tuple[Any, Any]:
    return np.insert(times, breaks, times[breaks - 1]), np.insert(values, breaks, np.nan)
