"""Style of all figures: one palette of energy flows, time axes in local time, and files that do not vary.

The colours of the flows differ in lightness, not in hue alone (CIE L* from 28 to 93), so that they can be
told apart in grey and by colour-blind readers; what is not used is hatched besides.
"""

from __future__ import annotations

import logging
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tafukt.experiments.results.load import LOCAL_TZ
from tafukt.simulator.units import Floats

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_FORMATS = ("png", "svg", "pdf", "pgf")
FONTS = ("sans", "serif", "latex")
PAPER_INCH = {1: 3.35, 2: 7.0}
"""Width of a figure over one and over two columns of a paper, as most publishers of the field have it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Colour and stroke of one quantity, wherever it is drawn."""

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

WARM, COOL = "#D1495B", "#30638E"
FAINT = "#8A94A0"
"""For what is warm, what is cool, and what stands behind, on the pages of a site and of a workload."""

# After Okabe and Ito (2008), less the bound's; line styles and markers tell them apart beside the colour.
SERIES = ("#1B1B1B", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A7A7A", "#5D3A9B")
STROKES: tuple[Any, ...] = (
    "-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)), (0, (8, 2)), (0, (6, 1, 2, 1)),
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*")
GREYED = "#B4B4B4"
MOST_IN_COLOUR = len(SERIES)
"""From more series than this on the eye cannot match colours to a legend: names stand beside what they name."""


@dataclass(frozen=True, slots=True)
class SeriesLook:
    """Look of one of many series: no two of the first 72 share colour and stroke, nor colour and marker."""

    colour: str
    stroke: Any
    marker: str


def series(index: int) -> SeriesLook:
    """The look of the series of this number."""
    turn, colour = divmod(index, len(SERIES))
    return SeriesLook(SERIES[colour], STROKES[(colour + turn) % len(STROKES)], MARKERS[(colour + turn) % len(MARKERS)])


STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # no ticks are above a plot; to look for them costs a tenth of drawing
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
    "text.parse_math": False,  # a policy may be called $x^$
}


PAPER: dict[str, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "lines.linewidth": 1.0,
    "savefig.dpi": 600,
}
FACES: dict[str, dict[str, Any]] = {
    "sans": {},
    "serif": {"font.family": "STIXGeneral", "mathtext.fontset": "stix"},
    "latex": {
        "font.family": ["cmr10", "DejaVu Serif"],
        "mathtext.fontset": "cm",
        "axes.unicode_minus": False,
        "axes.titleweight": "normal",
        "pgf.rcfonts": False,
    },
}


@contextmanager
def style(paper: int = 0, fonts: str = "sans") -> Iterator[None]:
    """The look of our figures, for as long as the context lasts.

    Parameters
    ----------
    paper : int
        0 for the screen; 1 or 2 for the letters of a figure over so many columns of a paper (`PAPER_INCH`).
    fonts : str
        `sans`; `serif`, which goes with Times; `latex`, LaTeX's Computer Modern. None needs LaTeX; a PGF file takes
        the letters of the document that includes it.

    Raises
    ------
    ValueError
        If there is no such paper size or font.
    """
    import matplotlib as mpl

    if paper not in (0, *PAPER_INCH) or fonts not in FONTS:
        raise ValueError(f"paper is 0, 1 or 2, not {paper!r}, and fonts one of {', '.join(FONTS)}, not {fonts!r}")
    settings: Any = STYLE | (PAPER if paper else {}) | FACES[fonts]
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="cmr10 font")  # it would rather set numbers as formulas
        yield


@contextmanager
def measured_once() -> Iterator[None]:
    """Texts of one look are measured once, and ticks found once, for as long as the context lasts, as for a whole page.

    matplotlib measures each label of a figure some fourteen times, and looks for its ticks fifteen times: for title,
    layout, and drawing. To remember what it found takes a fifth off the time of all figures of a report for the texts
    (22 of a month: 4.6 s to 3.7 s), and a tenth for the ticks (4.1 s to 3.7 s).
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    measure: Any = Text._get_layout  # type: ignore[attr-defined]
    found: dict[tuple[Any, ...], Any] = {}

    def remembered(text: Any, renderer: Any) -> Any:
        """The layout of a text, from those of the same look."""
        if text.get_wrap():
            return measure(text, renderer)
        look = (text.get_text(), hash(text.get_fontproperties()), text.figure.dpi, type(renderer).__name__)
        place = (text.get_rotation(), text.get_rotation_mode(), text.get_ha(), text.get_va())
        key = (*look, *place, text._multialignment, text._linespacing, text.get_parse_math(), text.get_usetex())
        if key not in found:
            found[key] = measure(text, renderer)
        return found[key]

    update: Any = Axis._update_ticks  # type: ignore[attr-defined]

    def once(axis: Any) -> Any:
        """The ticks of an axis, as they are for as long as it shows the same and has room for as many."""
        shown = (*axis.get_view_interval(), axis.get_tick_space())
        why = (*shown, *((each.locator, each.formatter) for each in (axis.major, axis.minor)))
        if getattr(axis, "ticks_found", (None,))[0] != why:
            axis.ticks_found = (why, update(axis))  # kept by the axis, or a whole page of figures would stay
        return axis.ticks_found[1]

    Text._get_layout = remembered  # type: ignore[attr-defined]
    Axis._update_ticks = once  # type: ignore[attr-defined]
    try:
        yield
    finally:
        Text._get_layout = measure  # type: ignore[attr-defined]
        Axis._update_ticks = update  # type: ignore[attr-defined]


def paper(columns: int = 2, fonts: str = "sans") -> AbstractContextManager[None]:
    """The look of figures over one or two columns of a paper, for as long as the context lasts (see `style`)."""
    return style(columns, fonts)


def paper_size(size: tuple[float, float], columns: int) -> tuple[float, float]:
    """A figure's size [inch] over so many columns of a paper; as it is for 0."""
    if not columns:
        return size
    width = PAPER_INCH[columns]
    return width, max(size[1] * width / size[0] * (1.25 if columns == 1 else 1.0), 1.8)


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


def lay_out(figure: Figure) -> None:
    """Lay a figure out once and for all, so that `save` need not do it again for each format."""
    engine = figure.get_layout_engine()
    if engine is not None:
        with style():
            engine.execute(figure)
        figure.set_layout_engine("none")


def save(
    figure: Figure, target: Path | IO[bytes], kind: str, paper: int = 0, fonts: str = "sans", dpi: float | None = None
) -> None:
    """Write a figure in one of `FIGURE_FORMATS`, the same bytes each time: no dates, no software versions.

    `pgf` needs an installed LaTeX, which measures the text; `paper` and `fonts` are those that it was drawn with.
    """
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on the age of Computer Modern
    with style(paper, fonts):
        if kind in ("png", "svg"):
            _print(figure, target, kind, dpi, metadata[kind])
        else:
            more: dict[str, Any] = {"metadata": metadata[kind]} if kind in metadata else {}
            figure.savefig(target, format=kind, **more | ({"dpi": dpi} if dpi else {}))


def _print(figure: Figure, target: Path | IO[bytes], kind: str, dpi: float | None, metadata: Any) -> None:
    """Draw a figure once into a PNG or SVG file.

    `savefig` draws whatever has a layout twice, the first time for nothing: a sixth of the time that a figure takes.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    before, canvas = figure.dpi, figure.canvas
    try:
        figure.set_dpi(dpi or mpl.rcParams["savefig.dpi"])
        made: Any = FigureCanvasAgg(figure) if kind == "png" else FigureCanvasSVG(figure)
        getattr(made, f"print_{kind}")(target, metadata=metadata)
    finally:
        figure.set_dpi(before)
        figure.set_canvas(canvas)


def dates() -> Any:
    """`matplotlib.dates`, which has no types."""
    import matplotlib.dates

    return matplotlib.dates


def day_numbers(times: Any) -> Floats:
    """Moments (a column or an index) as matplotlib's days, by way of numpy: one by one a zone costs 10 us a value."""
    import pandas as pd

    index = pd.DatetimeIndex(times)
    plain = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    return np.asarray(dates().date2num(plain.to_numpy()), dtype=np.float64)


def local_axis(ax: Axes, times: Any, tz: str, more: str = "") -> None:
    """Label an x axis of UTC times (a column or an index) in local time, and say so, and what more there is."""
    import pandas as pd

    from tafukt.sites.time_grid import zone_of as zone_named

    mdates, zone = dates(), zone_named(tz)  # matplotlib knows names alone, and no offsets
    index = pd.DatetimeIndex(times)
    span_days = (index.max() - index.min()).total_seconds() / 86_400
    locator: Any
    if span_days <= 2.5:
        hours = 6 if plot_inches(ax) > 5 else 12
        hours = max(1, hours // 6) if span_days <= 0.35 else hours
        locator, text = mdates.HourLocator(byhour=range(0, 24, hours), tz=zone), "%a %H:%M"
    elif span_days <= 15:
        text = "%a %-d %b" if span_days <= 8 else "%-d %b"
        every = math.ceil(span_days * (0.85 if span_days <= 8 else 0.6) / plot_inches(ax))
        locator = mdates.DayLocator(interval=every, tz=zone)
    else:
        text = "%-d %b" if span_days < 300 else "%b %Y"
        locator = mdates.AutoDateLocator(tz=zone, minticks=3, maxticks=max(4, min(9, int(plot_inches(ax) / 0.7))))
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.DateFormatter(text, tz=zone))
    if 2.5 < span_days <= 8:
        ax.xaxis.set_minor_locator(mdates.HourLocator(byhour=(6, 12, 18), tz=zone))
    first, last = mdates.date2num([index.min(), index.max()])
    ax.set_xlim(first, last if last > first else first + 1 / 24)
    ax.set_xlabel(wrapped(f"local time ({tz}){more}", ax, "axes.labelsize"))


def legend_above(ax: Axes, handles: Sequence[Any] | None = None) -> int:
    """A legend in rows above the plot, as many as fit the width; returns how many rows it takes."""
    found = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if not found:
        return 0
    size = text_points("legend.fontsize")
    room = plot_inches(ax) * 72
    widest = max(len(str(item.get_label())) for item in found)
    columns = max(1, min(len(found), int(room / (size * (0.5 * widest + 2.6)))))
    rows = -(-len(found) // columns)
    ax.legend(
        handles=found,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=-(-len(found) // rows),
        columnspacing=1.0,
        handlelength=1.4,
        handletextpad=0.5,
        borderaxespad=0.2,
        labelspacing=0.3,
        frameon=False,
        fontsize=size,
    )
    return rows


def plot_inches(ax: Axes) -> float:
    """Width of the plot, as it is before the layout makes room for labels [inch]."""
    return float(ax.get_position().width * ax.figure.get_figwidth())  # type: ignore[union-attr]


def wrapped(text: str, ax: Axes, size: str) -> str:
    """A text in lines that are no wider than the plot; `size` is the key of its font's size."""
    letters = int(plot_inches(ax) * 72 / (0.52 * text_points(size)))
    return "\n".join(textwrap.wrap(text, max(letters, 20)))


def text_points(key: str) -> float:
    """A font size of the style that holds now [points], also where it is given in words."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties

    settings: Any = mpl.rcParams
    return float(FontProperties(size=settings[key]).get_size_in_points())


def title_weight() -> str:
    """Bold, but where the letters have no bold."""
    import matplotlib as mpl

    return "normal" if "cmr10" in mpl.rcParams["font.family"] else "bold"


def finish(ax: Axes, title: str | None, default: str, legend: bool, handles: Sequence[Any] | None = None) -> Axes:
    """Put a legend above the plot if wanted, and the title above that: `default` where `title` is `None`."""
    rows = legend_above(ax, handles) if legend else 0
    text = default if title is None else title
    if text:
        text = wrapped(text, ax, "axes.titlesize")
        ax.set_title(text, loc="left", fontweight=title_weight(), pad=6 + rows * 1.45 * text_points("legend.fontsize"))
    _no_formulas(ax)
    return ax


def _no_formulas(ax: Axes) -> None:
    """Take every text of the axes as it stands, also where they are drawn outside of `style()`: `$x^$` is a name."""
    from matplotlib.text import Text

    for axis in (ax.xaxis, ax.yaxis):
        axis.get_ticklabels()  # which makes the ticks of names
    for text in ax.findobj(Text):
        text.set_parse_math(False)


def named(name: str) -> str:
    """A name as the label of a legend, which leaves out those that begin with an underscore."""
    return "\N{ZERO WIDTH SPACE}" * name.startswith("_") + name


def energy_of(data: Any) -> pd.DataFrame:
    """The energy table of a run, or the table itself."""
    table: pd.DataFrame = data if hasattr(data, "columns") else data["energy"]
    return table


def zone_of(data: Any, tz: str) -> str:
    """The time zone asked for, else the run's own, else Morocco's."""
    return tz or str(getattr(data, "tz", LOCAL_TZ))


def under(data: Any, place: bool = True) -> str:
    """The site and the policy of a run, for a title; nothing where a bare table is drawn."""
    row, site = getattr(data, "row", None), getattr(getattr(data, "part", None), "site", "")
    policy = f" under {row['policy']}" if isinstance(row, dict) and "policy" in row else ""
    return (f" at {site}" if place and site else "") + policy
