"""The one exception of this package."""

from __future__ import annotations

from tafukt.problems import Mistakes


class WorkloadError(Mistakes):
    """A workload's description or file is wrong; the message says where, what, and what is allowed."""
