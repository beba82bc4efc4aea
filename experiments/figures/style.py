"""What all figures share: one palette of energy flows, time axes in local time, and files that do not vary.

The colours of the flows differ in lightness, not in hue alone (CIE L* from 28 to 93), so that they can be
told apart in grey and by colour-blind readers; what is not used is hatched besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
LOCAL_TZ = "Africa/Casablanca"
"""Time zone of the figures where a result does not name one: Morocco's."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one quantity looks wherever it is drawn."""

    label: str
    colour: str
    hatch: str = ""


FLOWS: dict[str, Look] = {
    "pv_to_load": Look("sun to load", "#F2B134"),
    "discharge": Look("battery to load", "#4FA58E"),
    "import_to_load": Look("grid to load", "#2C4A7C"),
    "unserved": Look("unserved", "#C8102E", "xxxx"),
    "pv_to_battery": Look("sun to battery", "#F7D488", "\\\\\\\\"),
    "import_to_battery": Look("grid to battery", "#7D93BC", "\\\\\\\\"),
    "export": Look("exported", "#D9C7E3", "...."),
    "curtailed": Look("sun unused", "#FBF3DC", "////"),
}
INK = "#1B1B1B"
MUTED = "#6B6B6B"
SUN = FLOWS["pv_to_load"].colour
GRID = FLOWS["import_to_load"].colour
BATTERY = FLOWS["discharge"].colour

BOUND = "#D55E00"
"""The clairvoyant bound, always dashed."""

# After Okabe and Ito (2008), less the bound's; line styles and markers tell them apart beside the colour.
SERIES = ("#1B1B1B", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A7A7A", "#5D3A9B")
STROKES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")

STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "hatch.linewidth": 0.4,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
    "figure.dpi": 110,
    "svg.hashsalt": "tafukt",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "path.simplify": True,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of our figures, for as long as the context lasts."""
    import matplotlib as mpl

    settings: Any = STYLE
    with mpl.rc_context(settings):
        yield


def axes_or_new(ax: Axes | None, width: float = 7.2, height: float = 3.6) -> Axes:
    """The axes given, or those of a new figure of this size [inch]."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with style():
        _, made = plt.subplots(figsize=(width, height), layout="constrained")
    return made


def new_figure(width: float = 7.2, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure that pyplot does not know of, so that it need not be closed; call it within `style()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def save(figure: Figure, target: Path | IO[bytes], kind: str) -> None:
    """Write a figure as `png`, `svg` or `pdf`, the same bytes each time: no dates, no software versions."""
    metadata: dict[str, Any] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }[kind]
    with style():
        figure.savefig(target, format=kind, metadata=metadata)


def dates() -> Any:
    """`matplotlib.dates`, which has no types."""
    import matplotlib.dates

    return matplotlib.dates


def local_axis(ax: Axes, times: Any, tz: str) -> None:
    """Label an x axis of UTC times (a column or an index) in local time, and say so."""
    import pandas as pd

    mdates = dates()
    index = pd.DatetimeIndex(times)
    span_days = (index.max() - index.min()).total_seconds() / 86_400
    locator: Any
    if span_days <= 2.5:
        locator, text = mdates.HourLocator(byhour=range(0, 24, 6), tz=tz), "%a %H:%M"
    elif span_days <= 15:
        locator, text = mdates.DayLocator(tz=tz), "%a %-d %b" if span_days <= 8 else "%-d %b"
    else:
        locator, text = mdates.AutoDateLocator(tz=tz, maxticks=9), "%-d %b" if span_days < 300 else "%b %Y"
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.DateFormatter(text, tz=tz))
    if 2.5 < span_days <= 8:
        ax.xaxis.set_minor_locator(mdates.HourLocator(byhour=(6, 12, 18), tz=tz))
    ax.set_xlim(*mdates.date2num([index.min(), index.max()]))
    ax.set_xlabel(f"local time ({tz})")


def legend_above(ax: Axes, handles: Sequence[Any] | None = None, columns: int = 4) -> None:
    """A legend in rows above the plot, where it hides nothing."""
    more = {} if handles is None else {"handles": handles}
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        columnspacing=1.0,
        handlelength=1.4,
        handletextpad=0.5,
        borderaxespad=0.2,
        **more,
    )


def title_above_legend(ax: Axes, text: str, rows: int) -> None:
    """A title that leaves room for a legend of so many rows beneath it."""
    ax.set_title(text, pad=6 + 13 * rows)
