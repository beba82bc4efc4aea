"""Shared fixtures: where other people's data lie, and a cache that no test shares with the user."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("TAFUKT_PLAIN_SEARCH", "1")  # its small cases take less time than compiling them

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job ignores it, and so would all it starts
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("TAFUKT_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of fact tables, traces and weather that is not part of this repository."""
    if not (DATA / "README.md").exists():
        pytest.skip(f"no data folder at {DATA}: set TAFUKT_DATA to run this test")
    return DATA


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the supply cache of the tests apart from the user's, and the width of their terminal out of all texts."""
    os.environ.pop("COLUMNS", None)  # a parallel run of tests sets it, and output is broken into lines then
    os.environ["TAFUKT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
