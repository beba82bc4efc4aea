"""A policy with memory: starts jobs while the sun carries them, and gives each region its turn.

Name it in an experiment, `policies = ["fifo", "my_policy.py:TakeTurns"]`, and check that it keeps the rules:
`tafukt policies --check examples/my_policy.py:TakeTurns`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tafukt import Hold, JobState, Start, View

HOUR_S = 3600.0


class TakeTurns:
    """The region that has run the fewest GPU-hours so far goes first; a job waits for the sun while its slack lasts."""

    name = "take-turns"

    def begin(self, view: View) -> None:
        """Called once before each run: whatever is remembered begins here."""
        self.gpu_s: Counter[str] = Counter()

    def waiting(self, job: JobState) -> None:
        """A job has arrived, or waits again; everybody who waits is in `view.waiting`, so nothing is kept."""

    def freed(self, job: JobState | None, site: int) -> None:
        """GPUs have become free at a site."""

    def round(self, view: View) -> Iterator[Any]:
        """Starts and holds, one after another; each takes effect before the next is asked for."""
        now_s = view.now_s
        for job in sorted(view.waiting.values(), key=lambda job: (self.gpu_s[job.ask.tenant.region], job.index)):
            if job.held_until_s > now_s:
                continue
            ask = job.ask
            fitting = view.fitting(job, view.sites_for(job), ask.gpus)
            sunny = [site for site in fitting if view.sites[site].surplus_w > view.sites[site].draws_w(ask)]
            due = ask.latest_start_s <= now_s
            if sunny or (fitting and due):
                self.gpu_s[ask.tenant.region] += ask.gpus * ask.estimate_s
                yield Start(job, (sunny or fitting)[0], reason="its region's turn" if sunny else "due")
            elif not due:
                yield Hold(job, min(now_s + HOUR_S, ask.latest_start_s), reason="no sun to spare")
