"""The one exception of this package."""

from __future__ import annotations

from tafukt.problems import Mistakes


class SiteError(Mistakes):
    """Something in a site's description or its files cannot be used."""
