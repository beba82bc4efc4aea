"""Errors that are the user's to mend.

Mistakes (ValueError)       all of them at once, each a `Problem`: exit code 2
├── SiteError               in a site or its files
├── WorkloadError           in a workload or its files
└── InputError              in an experiment's file or on the command line
    └── FolderError         a result folder that belongs to another experiment
"""

from __future__ import annotations

from tafukt.problems import Mistakes, Problem, listed, nearest, shown

__all__ = ["FolderError", "InputError", "Problem", "listed", "nearest", "shown"]


class InputError(Mistakes):
    """Mistakes in an experiment's file or on the command line."""


class FolderError(InputError):
    """A result folder that belongs to another experiment, or is none."""
