"""The part of the accounting window that a figure over time shows: to the end of the last job.

The window is longer than any policy needs, so that all fit into it; what follows the last job is idle load alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tafukt.experiments.figures.style import MUTED, dates, energy_of, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

WORTH_CUTTING = 0.08
"""Less of the window than this is not worth a word."""


@dataclass(frozen=True)
class Window:
    """The stretch of time that is shown, and when the last job came.

    `until` is `None` where all is shown, `arrivals_end` where it is not known.
    """

    until: pd.Timestamp | None = None
    arrivals_end: pd.Timestamp | None = None


def window_of(data: Any, tz: str = "") -> Window:
    """The window of one run, or of a bare energy table, which does not know when jobs came."""
    return shared([data], tz)


def shared(runs: Iterable[Any], tz: str = "") -> Window:
    """One window for several runs, so that their figures have the same axis."""
    import pandas as pd

    ends, arrivals = [], []
    whole: Any = None
    for run in runs:
        energy = energy_of(run)
        ended, busy = _ends(energy), energy["busy_gpus"].to_numpy() > 0
        last = pd.Timestamp(ended.max(), tz="UTC")
        whole = (energy["time_utc"].min(), last, zone_of(run, tz))
        ends.append(pd.Timestamp(ended[busy].max(), tz="UTC") if busy.any() else last)
        if not hasattr(run, "columns") and "jobs" in run and len(run["jobs"]):
            arrivals.append(run["jobs"]["submit_utc"].max())
    first, last, zone = whole
    end = max(ends).tz_convert(zone).ceil("D", nonexistent="shift_forward", ambiguous=True).tz_convert("UTC")
    until = end if end < last - WORTH_CUTTING * (last - first) else None
    return Window(until, max(arrivals) if arrivals else None)


def _ends(energy: pd.DataFrame) -> Any:
    """Ends of all steps [UTC], as plain moments of numpy."""
    steps = (energy["step_h"].to_numpy() * 3.6e9).round().astype("timedelta64[us]")
    return energy["time_utc"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy() + steps


def inside(energy: pd.DataFrame, window: Window) -> Any:
    """Rows of an energy table that are shown: a mask, or a slice where they all are."""
    return slice(None) if window.until is None else (energy["time_utc"] < window.until).to_numpy()


def cut(energy: pd.DataFrame, window: Window, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of an energy table that are shown, and some of its columns: to copy them all is what a figure costs."""
    some = energy if columns is None else energy[list(columns)]
    return some if window.until is None else some[inside(energy, window)]


def shade(ax: Axes, window: Window, last: Any) -> None:
    """Grey where no more jobs arrive, and say so; `last` is where the axis ends."""
    to_number = dates().date2num
    begin = window.arrivals_end
    left, right = ax.get_xlim()
    if begin is None or to_number(last) - to_number(begin) < 0.02 * (right - left):
        return
    ax.axvspan(to_number(begin), to_number(last), color=MUTED, alpha=0.10, linewidth=0, zorder=0.5)
    ax.annotate(
        "no arrivals",
        (to_number(begin), 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=7,
        color=MUTED,
        annotation_clip=True,
    )


def told(window: Window, energy: pd.DataFrame, tz: str) -> str:
    """Words of an axis label on the part that is not shown."""
    import pandas as pd

    if window.until is None:
        return ""
    end = (energy["time_utc"].max() + pd.Timedelta(hours=float(energy["step_h"].iloc[-1]))).tz_convert(tz)
    return f"; idle from there to {end:%-d %b %Y}"
