"""The notebook runs from its first cell to its last on a result folder; pages name files that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import pytest

from tafukt.experiments.cli.app import main

matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parents[2]
WEEK = """
name = "morocco_week"
start = 2025-12-01T00:00:00Z
days = 2
step_min = 30
policies = ["fifo", "wait-for-sun"]
[sites]
use = ["rabat", "dakhla"]
"""


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "week.toml").write_text(WEEK)
    monkeypatch.setattr("sys.argv", ["tafukt", "run", "week.toml", "--quiet"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    book = json.loads((ROOT / "docs" / "from_results_to_figure.ipynb").read_text())
    scope: dict[str, object] = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    assert (tmp_path / "results" / "morocco_week" / "my_figure.pdf").stat().st_size > 1000


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md"])
def test_pages_name_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = re.findall(r"`((?:sites|workloads|simulator|experiments|docs)/[\w/.-]+\.(?:py|md|toml))`", text)
    missing = [name for name in (*links, *named) if not (ROOT / name).exists()]
    assert not missing
