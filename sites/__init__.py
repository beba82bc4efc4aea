"""Places, weather and grid connections, turned into supply over time.

The package can be called: `tafukt.sites()` is the catalogue, `tafukt.sites.site` a module. A module whose class is
replaced may be called like a function (Python data model, 3.3.2.1).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tafukt.sites.site import SiteModel


class _Catalogue(ModuleType):
    def __call__(self) -> dict[str, SiteModel]:
        """The sites of the catalogue, by name."""
        from tafukt.sites.site import catalogue

        return catalogue()


sys.modules[__name__].__class__ = _Catalogue
