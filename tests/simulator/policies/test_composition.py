"""Policies put together from names; places, durations, pausing at sunset; what the catalogue says of them."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import builders.jobs as kit
import numpy as np
import pytest

from tafukt.experiments.config.load import check
from tafukt.experiments.config.policies import policy_refs
from tafukt.experiments.errors import InputError
from tafukt.simulator.conformance import cases
from tafukt.simulator.engine.engine import simulate
from tafukt.simulator.engine.forecast import ForecastSettings
from tafukt.simulator.engine.job_state import JobState
from tafukt.simulator.engine.settings import Settings
from tafukt.simulator.policies import registry as catalogue
from tafukt.simulator.policies.deferral.by_signal import BySignal
from tafukt.simulator.policies.deferral.elastic import Elastic
from tafukt.simulator.policies.deferral.slots import threshold
from tafukt.simulator.policies.list_scheduler import ListScheduler
from tafukt.simulator.policies.order import FairShare
from tafukt.simulator.policies.place import PLACES, greenest
from tafukt.simulator.policies.presets import PRESETS, policy
from tafukt.simulator.policies.registry import PARTS, PartError, details, made_of, maker_of, parts_of, rows
from tafukt.simulator.policies.runtime_prediction import (
    ENOUGH,
    ENOUGH_FOR_SHARES,
    ClassMean,
    Duration,
    Estimate,
    UserFactor,
    UsualShare,
)
from tafukt.simulator.scenario import Battery, Grid, NodeType, Scenario, Site
from tafukt.sites.profile import StepProfile
from tafukt.workloads.job import Ask, Checkpoint, Dataset, Job, Tenant, Truth

HOUR_S = 3600.0


# --- from names to parts --------------------------------------------------------------------------------


def test_a_table_names_the_parts() -> None:
    parts = parts_of(
        {"name": "x", "order": "fair", "place": "greenest", "when": "threshold", "size": "elastic", "signal": "carbon"}
    )
    assert parts.order is FairShare
    assert parts.place is greenest
    assert isinstance(parts.size, Elastic)
    assert parts.when is not None
    when = parts.when()
    assert isinstance(when, BySignal)
    assert (when.part, when.signal) == (threshold, PARTS["signal"]["carbon"])
    assert parts.when() is not when


def test_like_starts_from_a_preset_and_a_part_may_have_options() -> None:
    parts = parts_of({"name": "x", "like": "easy", "when": {"part": "threshold", "quantile": 0.2}})
    assert parts.backfill == "easy"
    assert parts.when is not None
    assert parts.when().part.keywords == {"quantile": 0.2}  # type: ignore[attr-defined]


def test_a_preset_takes_another_signal_or_duration() -> None:
    """`{ like = "carbon-time", duration = "estimate" }`: the rest stays as it is."""
    when = parts_of({"name": "x", "like": "carbon-time", "duration": "estimate"}).when()  # type: ignore[misc]
    before = PRESETS["carbon-time"].parts.when()  # type: ignore[union-attr, misc]
    assert isinstance(when, BySignal)
    assert isinstance(when.duration, Estimate)
    assert (when.part, when.signal) == (before.part, before.signal)
    signal = parts_of({"name": "x", "like": "carbon-time", "signal": "price"}).when()  # type: ignore[misc]
    assert signal.signal is PARTS["signal"]["price"]  # type: ignore[union-attr]
    assert isinstance(signal.duration, ClassMean)  # type: ignore[union-attr]
    sun = parts_of({"name": "x", "like": "wait-for-sun", "duration": "estimate"}).when()  # type: ignore[misc]
    assert isinstance(sun.duration, Estimate)  # type: ignore[union-attr]
    elastic = parts_of({"name": "x", "like": "carbon-scaler", "signal": "price"}).size
    assert isinstance(elastic, Elastic)
    assert elastic.signal is PARTS["signal"]["price"]
    with pytest.raises(PartError, match="grid draw alone"):
        parts_of({"name": "x", "like": "wait-for-sun", "signal": "carbon"})
    with pytest.raises(PartError, match="is used by `when` and `size`"):
        parts_of({"name": "x", "like": "easy", "duration": "estimate"})


@pytest.mark.parametrize("like", ["planner", "budget-planner"])
def test_a_planners_choices_are_keys(like: str) -> None:
    table = {"name": "mine", "like": like, "scarcity": 0.05, "horizon_h": 96, "moves": False}
    made = maker_of(table)("mine")
    assert (made.name, made.settings.scarcity, made.settings.horizon_h, made.settings.moves) == (
        "mine",
        0.05,
        96,
        False,
    )
    plain = policy(like).settings
    assert (made.settings.sites, made.settings.refill) == (plain.sites, plain.refill)
    for wrong, key, told in (
        ({"scarcty": 1.0}, "scarcty", "unknown key"), ({"sites": 1.5}, "sites", "of the kind of its default, 3"),
        ({"horizon_h": 0}, "horizon_h", "at least 1"), ({"moves": 1}, "moves", "default, True"),
        ({"order": "fair"}, "order", "unknown key"), ({"scarcity": -1.0}, "scarcity", "at least 0"),
    ):  # fmt: skip
        with pytest.raises(PartError, match=told) as caught:
            maker_of({"name": "x", "like": like, **wrong})
        assert caught.value.key == key


def test_a_review_brings_a_part_that_holds_whom_it_pauses() -> None:
    assert isinstance(parts_of({"name": "x", "review": "sunset"}).when(), BySignal)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("table", "key", "known"),
    [
        ({"oder": "fair"}, "oder", "order"),
        ({"order": "fare"}, "order", "fair"),
        ({"when": {"part": "threshold", "quantle": 1}}, "when.quantle", "quantile"),
        ({"when": {"part": "threshold", "quantile": "x"}}, "when.quantile", None),
        ({"when": {"part": "lowest-slots", "pay": 1}}, "when.pay", None),
        ({"when": {"quantile": 1}}, "when", "threshold"),
        ({"like": "srtf"}, "like", "fifo"),
        ({"signal": "carbon"}, "signal", None),
        ({"place": 3}, "place", "home"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_what_could_stand_there(
    table: dict[str, Any], key: str, known: str | None
) -> None:
    with pytest.raises(PartError) as caught:
        parts_of({"name": "x", **table})
    assert caught.value.key == key
    assert known is None or known in caught.value.known


def document(*policies: Any, **more: Any) -> dict[str, Any]:
    workload = {"kind": "generator", "mix": "institutes", "load": 0.3}
    base = {"name": "x", "start": "2025-12-01T00:00:00Z", "days": 1, "workload": workload}
    return base | {"policies": ["fifo", *policies]} | more


def test_an_experiment_takes_tables_and_writes_them_back(tmp_path: Path) -> None:
    table = {"name": "mine", "order": "fair", "when": {"part": "threshold", "quantile": 0.25}}
    loaded = check(document(table, baseline="mine"), "x.toml", tmp_path)
    assert loaded.document()["policies"] == ["fifo", table]
    assert loaded.document()["baseline"] == "mine"
    again = check(loaded.document(), "x.toml", tmp_path)
    assert [ref.digest for ref in again.policies] == [ref.digest for ref in loaded.policies]
    assert loaded.policies[1].load().name == "mine"
    other = check(document(table | {"order": "arrival"}), "x.toml", tmp_path)
    assert other.policies[1].digest != loaded.policies[1].digest


OWN = """
class Own:
    name = "my own"
    def begin(self, view): ...
    def waiting(self, job): ...
    def freed(self, job, site): ...
    def round(self, view): return ()

class Other(Own):
    def __init__(self):
        self.name = "the other"

class Copy(Own):
    name = "fifo"

def plain(view): return ()
"""


def test_a_policy_of_ones_own_is_told_by_its_name_in_tables_and_as_baseline(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(OWN)
    names = ["p.py:Own", "p.py:Other", "p.py:Copy", "p.py:plain"]
    loaded = check(document(*names, baseline="the other"), "x.toml", tmp_path)
    # A name that a preset has already is no name of one's own.
    assert [ref.label for ref in loaded.policies] == ["fifo", "my own", "the other", "p:Copy", "p:plain"]
    assert loaded.baseline == loaded.policies[2]
    assert loaded.policies[1].load().name == "my own"
    again = check(loaded.document(), "x.toml", tmp_path)
    assert again.baseline.label == "the other"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"order": "fare", "name": "x"}, 'policies[1].order: no such part "fare"'),
        ({"order": "fair"}, "policies[1].name: a policy made of parts needs a name"),
        ({"name": "easy"}, 'policies[1].name: "easy" is the name of a policy that comes with Tafukt'),
    ],
)
def test_an_experiment_tells_where_a_table_is_wrong(table: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        check(document(table), "x.toml", tmp_path)


def test_an_installed_package_offers_policies_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offered = importlib.metadata.EntryPoint("theirs", "tafukt.simulator.policies.presets:PRESETS", "tafukt.policies")
    function = SimpleNamespace(name="theirs", module="theirs", load=lambda: lambda view: None)
    assert offered.group == "tafukt.policies"
    monkeypatch.setattr(
        "tafukt.experiments.config.policies.entry_points", lambda group: [function] if group == offered.group else []
    )
    refs, problems = policy_refs(["theirs"], "x.toml", tmp_path)
    assert problems == []
    assert refs[0].load().name == "theirs"


# --- the catalogue --------------------------------------------------------------------------------------


def test_every_preset_and_part_says_what_it_does_in_a_sentence() -> None:
    for kind in ("", *PARTS):
        for row in rows(kind):
            assert row.does.endswith("."), row
            assert len(row.does) > 15, row
            assert details(row.name)[0]
    for row in rows():
        assert "https://" in row.source or "choice" in row.source, row


def test_published_parts_name_their_papers() -> None:
    sources = {row.name: row.source for kind in ("when", "size") for row in rows(kind)}
    assert "10.1145/3464298.3493399" in sources["lowest-window"]
    assert "10.1145/3464298.3493399" in sources["lowest-slots"]
    assert "10.1145/3575693.3575709" in sources["budget-threshold"]
    assert "10.1145/3620666.3651374" in sources["saving-per-wait"]
    assert "10.1145/3626788" in sources["elastic"]


def test_a_preset_is_shown_by_its_parts() -> None:
    shown = made_of(PRESETS["carbon-time"])
    assert shown["when"].startswith("saving-per-wait: ")
    assert shown["signal"].startswith("carbon: ")
    assert shown["duration"].startswith("class-mean: ")
    with pytest.raises(KeyError):
        details("nobody")
    assert catalogue.options(threshold) == {"quantile": 0.3}


# --- places ---------------------------------------------------------------------------------------------


def place_view(surplus: list[float], carbon: list[float], price: list[float], free: list[int]) -> Any:
    def constant(value: float) -> StepProfile:
        return StepProfile.constant(value, HOUR_S, HOUR_S)

    sites = [
        SimpleNamespace(
            surplus_w=s,
            free_gpus=f,
            gpus=10,
            draws_w=lambda ask: 1000.0,
            spec=SimpleNamespace(gpus=10, grid=Grid(constant(p), constant(c), constant(0.0))),
        )
        for s, c, p, f in zip(surplus, carbon, price, free, strict=True)
    ]
    scenario = SimpleNamespace(site_index=lambda name: "abc".find(name))
    return SimpleNamespace(
        sites=sites, now_s=0.0, scenario=scenario, transfer_s=lambda job, site: [5.0, 2.0, 9.0][site]
    )


@pytest.mark.parametrize(
    ("part", "home", "chosen"),
    [
        ("home", "c", 2),
        ("home", "?", 1),
        ("least-loaded", "c", 1),
        ("sunniest", "a", 1),
        ("greenest", "a", 2),
        ("cheapest", "b", 0),
        ("nearest-data", "a", 2),
    ],
)
def test_each_place_part_chooses_by_its_own_measure(part: str, home: str, chosen: int) -> None:
    view = place_view([-50.0, 300.0, 200.0], [2.0, 2.0, 1.0], [1.0, 5.0, 5.0], [4, 6, 2])
    job = JobState(0, ask(home=home, dataset=Dataset("d", 1.0, "c")))
    assert PLACES[part](job, (0, 1, 2), view)[0] == chosen


def test_data_that_lie_nowhere_go_where_they_arrive_soonest() -> None:
    view = place_view([0.0] * 3, [1.0] * 3, [1.0] * 3, [1, 1, 1])
    assert PLACES["nearest-data"](JobState(0, ask(dataset=Dataset("d", 1.0, "?"))), (0, 1, 2), view)[0] == 1


@pytest.mark.parametrize(("place", "gpus", "chosen"), [("open-nodes", 4, 1), ("open-nodes", 5, 0), ("home", 4, 0)])
def test_small_jobs_wake_no_node_where_another_site_has_one_open(place: str, gpus: int, chosen: int) -> None:
    """At s1 a job leaves four GPUs of its node; what needs five would wake one there as well as at home."""
    where = kit.scenario([kit.site("s0", 2, kit.SLEEPY), kit.site("s1", 2, kit.SLEEPY)])
    first = kit.job("first", 0.0, 4, 4000.0, home="s1", residency="regional")
    record = kit.run([first, kit.job("small", 600.0, gpus, 600.0)], where, kit.fifo(place=PLACES[place]))
    assert record.outcomes[1].site == chosen


def test_wait_for_sun_takes_a_duration_and_no_signal() -> None:
    assert isinstance(parts_of({"when": "wait-for-sun"}).when().duration, UsualShare)  # type: ignore[misc,union-attr]
    chosen = parts_of({"when": {"part": "wait-for-sun", "per_hour": 0.01}, "duration": "estimate"}).when()  # type: ignore[misc]
    assert isinstance(chosen.duration, Estimate)  # type: ignore[union-attr]
    assert chosen.per_hour == 0.01  # type: ignore[union-attr]
    with pytest.raises(PartError, match="grid draw alone"):
        parts_of({"when": "wait-for-sun", "signal": "carbon"})


# --- durations ------------------------------------------------------------------------------------------


def ask(**changes: Any) -> Ask:
    base = Ask("j", 0.0, 2, 7200.0, 36_000.0, Tenant("R"), "a", Dataset("d", 1.0, "a"), job_class="k")
    return replace(base, **changes)


def ended(runtime_s: float, **changes: Any) -> JobState:
    job = JobState(0, ask(**changes))
    job.phase, job.done_gpu_s = "ended", runtime_s * job.ask.gpus
    return job


def test_durations_are_learned_from_what_has_ended_and_from_nothing_else() -> None:
    waiting = JobState(1, ask())
    other = JobState(2, ask(job_class="other", tenant=Tenant("S")))
    for part, expected in ((ClassMean(), 3600.0), (UserFactor(), 3600.0), (Estimate(), 7200.0)):
        for _ in range(ENOUGH - 1):
            part.freed(ended(3600.0))
        assert part.left_s(waiting, 0.0) == 7200.0
        paused = JobState(3, ask())
        paused.done_gpu_s = 10.0
        part.freed(paused)
        assert part.left_s(waiting, 0.0) == 7200.0
        part.freed(ended(3600.0))
        assert part.left_s(waiting, 0.0) == pytest.approx(expected)
        assert part.left_s(other, 0.0) == 7200.0


@pytest.mark.parametrize(("part", "enough"), [(ClassMean(), ENOUGH), (UsualShare(), ENOUGH_FOR_SHARES)])
def test_who_outlives_a_prediction_is_taken_at_its_users_word(part: Duration, enough: int) -> None:
    for _ in range(enough):
        part.freed(ended(3600.0))
    job = JobState(1, ask())
    job.done_gpu_s = 2 * 3000.0
    assert part.left_s(job, 0.0) == pytest.approx(600.0)
    job.done_gpu_s = 2 * 4000.0
    assert part.left_s(job, 0.0) == pytest.approx(3200.0)


# --- at sunset ------------------------------------------------------------------------------------------


def evening(battery_kwh: float, slack_h: float) -> Any:
    """One job of six hours at noon, sun until three in the afternoon, and a battery."""
    pv = np.zeros(72 * 12)
    for day in range(3):
        pv[(day * 24 + 8) * 12 : (day * 24 + 15) * 12] = 9000.0
    constant = StepProfile.constant(0.0, 72 * HOUR_S, 300.0)
    stored = Battery(battery_kwh * 3.6e6, 9000.0, 9000.0, 1.0, 1.0, soc_min=0.0, soc_max=1.0, soc_start=1.0)
    grid = Grid(constant, constant, constant)
    node = NodeType("n", 8, 0.0, 8000.0, 0.0)
    site = Site("a", "R", node, 1, StepProfile(pv, 300.0), constant, constant, grid, battery=stored)
    checkpoint = Checkpoint(1.0, 120.0, 180.0, inf)
    asked = ask(
        submit_s=12 * HOUR_S, gpus=8, estimate_s=6 * HOUR_S, slack_s=slack_h * HOUR_S, checkpoint=checkpoint, home="a"
    )
    parts = parts_of({"name": "x", "when": "now", "review": "sunset"})
    settings = Settings(forecast=ForecastSettings("perfect"))
    jobs = [Job(asked, Truth(asked.estimate_s * 8))]
    return simulate(Scenario((site,), 72 * HOUR_S, 300.0), jobs, ListScheduler("x", parts), settings=settings)


def test_a_job_is_saved_just_before_the_battery_is_empty() -> None:
    record = evening(battery_kwh=8.0, slack_h=30.0)
    pause = next(event for event in record.events if event.kind == "pause")
    # Sun ends at three; 8 kWh feed 8 kW for an hour, less the two minutes of the checkpoint and the margin.
    assert pause.time_s / HOUR_S == pytest.approx(16.0 - 240.0 / HOUR_S, abs=0.03)
    assert pause.detail["checkpoint_s"] == 120.0
    assert pause.detail["sun_again_in_h"] == pytest.approx(16.0, abs=0.2)
    assert pause.detail["grid_kwh"] < pause.detail["grid_kwh_on"]


def test_a_job_without_the_slack_to_wait_for_the_sun_runs_on() -> None:
    record = evening(battery_kwh=8.0, slack_h=3.0)
    assert record.outcomes[0].pauses == 0
    assert record.outcomes[0].end_s <= 18 * HOUR_S + 60.0


def test_a_battery_that_lasts_is_no_reason_to_pause() -> None:
    assert evening(battery_kwh=80.0, slack_h=30.0).outcomes[0].pauses == 0


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_brings_all_jobs_to_their_end(name: str) -> None:
    case = cases()[2]
    record = simulate(case.scenario, case.jobs, policy(name), settings=case.settings)
    assert all(outcome.state == "done" for outcome in record.outcomes)
    starts = [event for event in record.events if event.kind == "start"]
    assert all(event.reason for event in starts)


def test_the_usual_share_of_an_estimate_is_what_most_have_used() -> None:
    """Of estimates of two hours, six of ten use up to a half, the others all: 0.5 is usual for 0.6, 1 for 0.7."""
    waiting = JobState(1, ask())
    for most, expected in ((0.6, 3600.0), (0.7, 7200.0)):
        part = UsualShare(most)
        for i in range(ENOUGH_FOR_SHARES):
            assert part.left_s(waiting, 0.0) == 7200.0
            part.freed(ended(3600.0 if i % 10 < 6 else 7200.0))
        assert part.left_s(waiting, 0.0) == pytest.approx(expected)
    part = UsualShare(0.6)
    paused = JobState(3, ask())
    paused.done_gpu_s = 10.0
    for _ in range(2 * ENOUGH_FOR_SHARES):
        part.freed(paused)
    assert part.left_s(waiting, 0.0) == 7200.0
