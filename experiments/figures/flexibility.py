"""The flexibility of sites: for how long a cut was kept, by site and hour of the day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.figures.style import MUTED, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def flexibility_map(probes: pd.DataFrame, longest_h: float, title: str) -> Figure:
    """One panel for each cut: sites down, local hours across, and how long probes were kept [h], on the mean.

    `probes` is the table of `flexibility.probe_table`; call it within `style()`. Where the sun carried all there was
    nothing to cut: such an hour is blank.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    probes = probes[probes["spacing_h"] == 0.0]
    frame = probes[probes["asked_kw"] > 0.0]
    cuts, sites = sorted(probes["cut"].unique()), sorted(probes["site"].unique())
    hours = sorted(probes["hour"].unique())
    figure = Figure(figsize=(2.4 * len(cuts) + 1.8, 0.24 * len(sites) + 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(1, len(cuts), sharey=True, squeeze=False)[0]
    for ax, cut in zip(axes, cuts, strict=True):
        part = frame[frame["cut"] == cut]
        table = part.pivot_table(index="site", columns="hour", values="held_h", aggfunc="mean")
        values = table.reindex(index=sites, columns=hours).to_numpy(dtype=float)
        mesh = ax.imshow(values, cmap="cividis", vmin=0.0, vmax=longest_h, aspect="auto")
        ax.set_xticks(np.arange(len(hours))[:: max(len(hours) // 8, 1)], hours[:: max(len(hours) // 8, 1)])
        ax.set_yticks(np.arange(len(sites)), [named(site) for site in sites])
        ax.set_title(f"{cut:.0%} less", loc="left")
        ax.grid(visible=False)
        ax.set_facecolor("white")
    axes[len(cuts) // 2].set_xlabel("local hour at which the request begins")
    figure.colorbar(mesh, ax=list(axes), label="sustained for [h]", pad=0.01)
    figure.suptitle(f"{title}; white: the sun carried all", x=0.01, ha="left", color=MUTED, fontsize="small")
    return figure
