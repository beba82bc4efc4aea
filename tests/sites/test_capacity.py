"""How many nodes are in service along a run, from what a user writes; and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders.experiments import tiny

from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.scenario import build
from tafukt.experiments.errors import InputError
from tafukt.sites.capacity import nodes_online
from tafukt.sites.errors import SiteError
from tafukt.sites.schema.equipment import ClusterModel
from tafukt.sites.time_grid import span

START = datetime(2025, 6, 1, tzinfo=UTC)
SPAN = span(START, 2, 3600.0)
HOUR = 3600.0


def cluster(**given: Any) -> ClusterModel:
    return ClusterModel.model_validate({"nodes": 10, **given})


def spell(day: int, hour: int, hours: float, nodes: int | None = None) -> dict[str, Any]:
    given = {"start": datetime(2025, 6, day, hour, tzinfo=UTC), "hours": hours}
    return given if nodes is None else given | {"nodes": nodes}


def test_spells_that_overlap_add_up() -> None:
    """Four nodes from 8 to 12, three from 10 to 14, all of them a day later from 0 to 1."""
    found, _ = nodes_online(cluster(withdrawn=[spell(1, 8, 4, 4), spell(1, 10, 4, 3), spell(2, 0, 1)]), SPAN)
    wanted = [(8, 6), (10, 3), (12, 7), (14, 10), (24, 0), (25, 10)]
    assert found == tuple((hour * HOUR, count) for hour, count in wanted)


def test_a_spell_that_begins_before_the_run_holds_from_its_start() -> None:
    early = {"start": datetime(2025, 5, 31, 22, tzinfo=UTC), "hours": 5, "nodes": 2}
    assert nodes_online(cluster(withdrawn=[early]), SPAN)[0] == ((0.0, 8), (3 * HOUR, 10))


def test_one_spell_after_the_other_is_one() -> None:
    assert nodes_online(cluster(withdrawn=[spell(1, 8, 2, 4), spell(1, 10, 2, 4)]), SPAN)[0] == (
        (8 * HOUR, 6), (12 * HOUR, 10),
    )  # fmt: skip


def test_a_series_of_nodes(tmp_path: Path) -> None:
    counts = [10] * 6 + [7] * 6 + [10] * 36
    rows = [f"2025-06-{1 + h // 24:02d}T{h % 24:02d}:00:00Z,{count}" for h, count in enumerate(counts)]
    (tmp_path / "nodes.csv").write_text("time,nodes\n" + "\n".join(rows) + "\n")
    given = {"file": tmp_path / "nodes.csv", "column": "nodes"}
    assert nodes_online(cluster(nodes_online=given), SPAN)[0] == ((6 * HOUR, 7), (12 * HOUR, 10))
    with pytest.raises(SiteError, match="values above 9 nodes, the highest 10"):
        nodes_online(cluster(nodes=9, nodes_online=given), SPAN)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(SiteError, match=r"cluster.withdrawn: 13 of 10 nodes are withdrawn at 2025-06-01 10:00"):
        nodes_online(cluster(withdrawn=[spell(1, 8, 4, 6), spell(1, 10, 4, 7)]), SPAN)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("nodes", 11, "withdrawn[0].nodes = 11: there are only 2 nodes"),
        ("nodes", 0, "0 is not allowed"),
        ("hours", 0, "0 is not allowed"),
        ("start", datetime(2025, 6, 1), "a time needs a time zone"),
    ],
)
def test_mistakes_are_told_with_their_key(tmp_path: Path, key: str, value: Any, said: str) -> None:
    spells = [{"start": START, "hours": 1.0} | {key: value}]
    (tmp_path / "e.toml").write_text(tiny() + "\n[sites.change.rabat.cluster]\n" + tomli_w.dumps({"withdrawn": spells}))
    with pytest.raises(InputError) as error:
        load_experiment(tmp_path / "e.toml")
    assert said in str(error.value)
    assert "sites.change.rabat.cluster" in str(error.value)


def test_an_experiment_carries_it_to_the_simulator(tmp_path: Path) -> None:
    told = {"withdrawn": [{"start": datetime(2025, 6, 1, 6, tzinfo=UTC), "hours": 1.5, "nodes": 1}]}
    (tmp_path / "e.toml").write_text(tiny() + "\n[sites.change.rabat.cluster]\n" + tomli_w.dumps(told))
    sites = {site.name: site for site in build(load_experiment(tmp_path / "e.toml"), 1).scenario.sites}
    assert sites["rabat"].nodes_online == ((6 * HOUR, 1), (7.5 * HOUR, 2))
    assert sites["dakhla"].nodes_online == ()
