"""A heat wave: warmer air on its days and no others, less from the modules, more for cooling."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tafukt.sites.site import site_from
from tafukt.sites.supply import supply

START = datetime(2026, 8, 1, tzinfo=UTC)
WAVE = {"start": "2026-08-03T00:00:00Z", "days": 2, "warmer_c": 8.0}


def test_a_heat_wave_warms_its_days_alone(tmp_path: Path) -> None:
    plain = site_from({"cooling": {"kind": "chiller"}}, "fes", "test", name="plain")
    hot = site_from({"cooling": {"kind": "chiller"}, "heat_waves": {"chergui": WAVE}}, "fes", "test", name="hot")
    found = supply([plain, hot], START, 6, 3600.0, 1, tmp_path)
    warmer = found["hot"].temp_air_c.values - found["plain"].temp_air_c.values
    inside = np.arange(6 * 24) // 24
    during = (inside == 2) | (inside == 3)
    assert np.allclose(warmer[during], 8.0)
    assert np.all(warmer[~during] == 0.0)
    assert np.all(found["hot"].overhead.values >= found["plain"].overhead.values)
    assert found["hot"].overhead.values[during].sum() > found["plain"].overhead.values[during].sum()
    sun = found["plain"].pv_w.values
    assert found["hot"].pv_w.values[during].sum() < sun[during].sum()
    assert np.array_equal(found["hot"].pv_w.values[~during], sun[~during])
