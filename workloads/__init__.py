"""Demand: generators and traces, turned into jobs.

The package can be called: `tafukt.workloads()` names what jobs can be made from (see `tafukt.sites`).
"""

from __future__ import annotations

import sys
from types import ModuleType


class _Catalogue(ModuleType):
    def __call__(self) -> dict[str, str]:
        """Sources of jobs, by name: mixes, trace formats and services, each with its title."""
        import tomllib

        from tafukt.workloads.bundled import bundled

        found = bundled("mixes") | bundled("traces") | bundled("services")
        return {
            name: str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", "")) for name, path in found.items()
        }


sys.modules[__name__].__class__ = _Catalogue
