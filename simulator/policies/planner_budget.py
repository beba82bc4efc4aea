"""The planner with a budget: each hour a linear programme gives every site power to spend on every job, hour by hour.

Jobs are then fitted in one after another, the largest first: each gives back its own share and takes the
hours and the site that are cheapest beside the shares of those who are still to be fitted and the plans of
those who have been. So stopping and moving still have to pay for themselves, and what a job has done or been
denied is in what it still needs when the next hour's programme is made.
"""

from __future__ import annotations

from simulator.forecast import HOUR_S
from simulator.life import Life
from simulator.policies.planner import STAYS, Need, Planner, PlannerSettings
from simulator.policies.planner_learn import Arrivals
from simulator.policies.planner_programme import Share, Wish, shares
from simulator.view import View

# How many jobs, the largest first, the programme shares the hours out to (a choice).
MOST = 150

# Expected work is entered in lots of so many hours (a choice).
LOT_H = 3

# Those who have not come are in the programme, so that sun a day ahead is less scarce than without.
SETTINGS = PlannerSettings(scarcity=0.1)


class BudgetPlanner(Planner):
    """A rolling linear programme over known jobs and expected arrivals; the planner's own search fills it."""

    def __init__(self, name: str = "budget-planner", settings: PlannerSettings = SETTINGS) -> None:
        super().__init__(name, settings)

    def begin(self, view: View) -> None:
        """Forget everything of an earlier run."""
        super().begin(view)
        self._arrivals = Arrivals()
        self._known = 0
        self._places: set[int] = set()
        self._others: list[tuple[int, Share]] = []

    def waiting(self, job: Life) -> None:
        """A job has arrived, is back among the waiting, or waits somewhere else than before."""
        super().waiting(job)
        if job.index >= self._known:
            self._known = job.index + 1
            run_h = _expected_h(self._need(job, 1.0))
            self._places.update(job.sites)
            # Who may wait forever says nothing of when others will have to be done.
            slack_h = min(job.ask.slack_s / HOUR_S, self.settings.horizon_h / 2)
            self._arrivals.came(run_h * job.ask.gpus, run_h, slack_h, job.ask.intensity)

    def _plan_all(self, view: View) -> None:
        """Share the hours out, then fit everybody in."""
        book = self._book
        book.begin_hour()
        for first, share in self._others:
            book.earmark(share.sites, share.watts, -1.0, first)
        self._others.clear()
        self._arrivals.hour_over()
        jobs = self._by_size(view)
        free = [job for job in jobs if self._is_free(job)][:MOST]
        chosen = {job.index for job in free}
        for job in free:
            book.withdraw(job.index)
        wishes = [*map(self._wish, free), *self._expected()]
        given = shares(view, book, wishes) if wishes else []
        for share in given:
            book.earmark(share.sites, share.watts, 1.0)
        self._others = [(book.first, share) for share in given[len(free) :]]
        for job in jobs:
            if job.index not in chosen and self._is_due(job):
                self._plan(job)
        for job, share in zip(free, given, strict=False):
            book.earmark(share.sites, share.watts, -1.0)
            self._plan(job)

    def _is_free(self, job: Life) -> bool:
        """Whether there is anything to decide about a job that is worth it."""
        may_stop = job.phase == "running" and job.ask.interruptible and self.settings.moves
        return (job.phase == "queued" or may_stop) and not self._is_small(job) and self._gpus(job) > 0

    def _wish(self, job: Life) -> Wish:
        """What a job needs by expectation, within the time in which its estimate must fit; it stays where it runs."""
        stays = job.phase in STAYS
        sites = (job.site,) if stays else tuple(self._view.sites_for(job))
        gpus = job.gpus if stays else self._gpus(job)
        need = self._need(job, 1.0)
        end_s = max(self._span_h(job, need.hours), need.n) * HOUR_S
        work = min(_expected_h(need), 0.999 * end_s / HOUR_S) * HOUR_S * gpus
        return Wish(sites, 0.0, end_s, work, gpus, job.ask.intensity)

    def _expected(self) -> list[Wish]:
        """The work that is to be expected as far ahead as the book goes, wherever any has come for so far."""
        mean = self._arrivals.mean()
        if mean is None:
            return []
        places, lots = tuple(sorted(self._places)), []
        window_h = mean.run_h + mean.slack_h
        for hour in range(0, int(self._book.span_h - window_h - LOT_H), LOT_H):
            release_s = (hour + LOT_H / 2) * HOUR_S
            gpu_s = mean.gpus * LOT_H * HOUR_S
            gpus = gpu_s / (mean.run_h * HOUR_S)
            lots.append(Wish(places, release_s, release_s + window_h * HOUR_S, gpu_s, gpus, mean.intensity))
        return lots


def _expected_h(need: Need) -> float:
    """For how long a job can be expected to run yet [h]."""
    return float(need.share @ need.chance)
