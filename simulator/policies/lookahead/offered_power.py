"""IT power that sun and import limits offer to jobs, by site and slot, as far as a policy knows them."""

from __future__ import annotations

from tafukt.simulator.engine.view import View
from tafukt.simulator.policies.lookahead.forecast_end import ahead_of
from tafukt.simulator.units import Floats


class OfferedPower:
    """IT power offered at every site: the sun expected, and what may be imported by limits and requests.

    Batteries are left out: what they hold then is not known, and an hour that counts on them may end in a shortage.
    """

    def __init__(self) -> None:
        self._at = (-1, -2)
        self._offered_w: Floats | None = None

    def of(self, view: View, slots: int) -> Floats | None:
        """IT power that is offered from the slot of issue on [W], shape (sites, slots); `None` where none is limited.

        Parameters
        ----------
        view : View
        slots : int
            How many are wanted at least.
        """
        told = view.limits_told
        if told < 0:
            return None
        forecast, now_s = view.slots, view.now_s
        at = forecast.issue_hour(now_s), told
        if at != self._at or self._offered_w is None or self._offered_w.shape[1] < slots:
            first, free_w = forecast.free_w(now_s)
            slots = max(slots, free_w.shape[1])
            limits_w = view.import_limits_w(first, slots, forecast.slot_s)
            self._at = at
            self._offered_w = (ahead_of(free_w, slots, forecast.day) + limits_w) / ahead_of(
                forecast.per_it(now_s), slots, forecast.day
            )
        return self._offered_w
