"""Speed under a power cap: what a GPU still does when it may draw less, by what the job does."""

from __future__ import annotations

from itertools import pairwise

from tafukt.workloads.job import PowerCurve

Caps = tuple[tuple[float, float], ...]

# A cap is raised by no less than this share, so that rounding moves nobody; bisection of a common cap ends there.
CAP_STEP = 1e-3

# Share of the power above idle against share of the full speed. The middle point is measured: language models
# trained on GPUs capped at 150 of 250 W took 6.8 % longer on 13.7 % less energy, so they drew
# (1 - 0.137) / 1.068 = 0.81 of the power at 1 / 1.068 = 0.936 of the speed. The lowest point is extrapolated from
# it by power ~ speed^3.2, the exponent that the measured point itself has. Both were measured at the GPU; that the
# share holds for all of a node's power above idle is a choice.
MEASURED: Caps = ((0.6, 0.85), (0.81, 0.936), (1.0, 1.0))
SOURCE = "McDonald et al. 2022, Great Power, Great Responsibility, https://doi.org/10.18653/v1/2022.findings-naacl.151"
# Means over the workloads of a kind, of jobs on A100 GPUs capped at 100, 200, 250, 300, 350 and 400 W; the share of the
# power above idle takes 55 W a GPU as idle, which is a choice: the measurements say nothing of it.
A100_IDLE_W = 55.0
A100: dict[PowerCurve, Caps] = {
    "pre-training": (
        (0.142, 0.186),
        (0.433, 0.629),
        (0.581, 0.784),
        (0.722, 0.867),
        (0.862, 0.923),
        (1.0, 1.0),
    ),
    "fine-tuning": (
        (0.155, 0.234),
        (0.486, 0.796),
        (0.646, 0.891),
        (0.801, 0.944),
        (0.911, 0.974),
        (1.0, 1.0),
    ),
    "inference": (
        (0.137, 0.225),
        (0.446, 0.781),
        (0.596, 0.871),
        (0.747, 0.931),
        (0.887, 0.976),
        (1.0, 1.0),
    ),
}
A100_SOURCE = (
    "power-cap sweep of the Emerald AI demonstration of May 2025, github.com/ai-emerald/emerald-ai-demo-may-2025"
)
# The table of each name that an experiment may give: under `a100` of those jobs that have no curve of their own.
CURVES: dict[str, Caps] = {
    "a100": A100["pre-training"],
    **{f"a100-{name}": caps for name, caps in A100.items()},
    "v100": MEASURED,
}
CONFIDENCE = "0.81: high, on V100; 0.6: low, extrapolated"


def speed(caps: Caps, cap: float) -> float:
    """Share of the full speed under a cap, linear between the points of the table.

    Parameters
    ----------
    caps : tuple of (share of power, share of speed)
        Ascending, ending in (1, 1); empty where a node takes no cap.
    cap : float
        Share of the power above idle that may be drawn.

    Raises
    ------
    ValueError
        If the table does not reach so low.
    """
    if cap == 1.0:
        return 1.0
    if not caps or not caps[0][0] <= cap <= 1.0:
        lowest = caps[0][0] if caps else 1.0
        raise ValueError(f"a power cap must lie in [{lowest:g}, 1], not {cap:g}")
    for (x0, y0), (x1, y1) in pairwise(caps):
        if cap <= x1:
            return y0 + (y1 - y0) * (cap - x0) / (x1 - x0)
    return 1.0


def power_for(caps: Caps, share: float) -> float:
    """The lowest cap under which a GPU keeps a share of its full speed; the table's lowest where that is enough.

    Parameters
    ----------
    caps : tuple of (share of power, share of speed)
        As for `speed`.
    share : float
        Share of the full speed.
    """
    if not caps or share >= 1.0:
        return 1.0
    if share <= caps[0][1]:
        return caps[0][0]
    for (x0, y0), (x1, y1) in pairwise(caps):
        if share <= y1:
            return x0 + (x1 - x0) * (share - y0) / (y1 - y0)
    return 1.0
