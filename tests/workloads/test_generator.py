"""The generator: the load that was asked for, draws that do not depend on each other, caps, chains, growth."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders.workloads import mistakes, workload_from
from hypothesis import given, settings
from hypothesis import strategies as st

from tafukt.workloads import streams
from tafukt.workloads.build import build
from tafukt.workloads.bundled import bundled
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.generator import elastic_range, speed_up
from tafukt.workloads.job import Job
from tafukt.workloads.mix import load_mix
from tafukt.workloads.plan import plan
from tafukt.workloads.schema import Demand, ElasticModel, GeneratorModel, Place
from tafukt.workloads.units import TICK_S

START = datetime(2025, 12, 1, tzinfo=UTC)
HERE = Path(__file__).parent
PLACES = [
    Place("casablanca", "CSE", 7.7e6, 80),
    Place("rabat", "RSK", 5.1e6, 80),
    Place("fes", "FME", 4.5e6, 80),
    Place("dakhla", "DOD", 0.22e6, 80),
]


def demand(
    places: list[Place] | None = None, days: float = 7, seed: int = 1, start: datetime = START, **keys: object
) -> Demand:
    return build(workload_from(dict(keys)), places or PLACES, start, days, seed, HERE)


def by_id(jobs: tuple[Job, ...]) -> dict[str, Job]:
    return {job.ask.job_id: job for job in jobs}


def work_h(jobs: tuple[Job, ...]) -> float:
    return sum(job.truth.due_gpu_s for job in jobs) / 3600


@pytest.mark.parametrize(
    "keys",
    [
        {"load": 0.55},
        {"load": 0.3, "draws": "independent"},
        {"load": 0.55, "runtime_cap_h": 6},
        {"load": 0.4, "leave_out": ["continued_pretraining"]},
    ],
)
def test_load_is_the_one_asked_for_on_average_over_seeds(keys: dict[str, object]) -> None:
    offered = [work_h(demand(seed=seed, **keys).jobs) / (320 * 168) for seed in range(40)]
    error = statistics.stdev(offered) / len(offered) ** 0.5
    assert abs(statistics.mean(offered) - keys["load"]) < 4 * error  # type: ignore[operator]
    assert error < 0.04 * keys["load"]  # type: ignore[operator]


def test_expected_work_by_class_is_what_the_draws_give() -> None:
    model = workload_from({})
    assert isinstance(model, GeneratorModel)
    scheme = plan(model, PLACES, HERE)
    jobs = demand(days=7 * 40).jobs
    for name in ("fine_tuning", "continued_pretraining", "preparation"):
        expected = scheme.jobs_per_day * 280 * scheme.class_share[name] * scheme.mean_work_gpu_s[name] / 3600
        drawn = work_h(tuple(job for job in jobs if job.ask.job_class == name))
        assert drawn == pytest.approx(expected, rel=0.06)


def test_stratified_weeks_are_more_alike_than_independent_ones() -> None:
    spread = {}
    for draws in ("stratified", "independent"):
        weeks = [demand(seed=seed, draws=draws).jobs for seed in range(40)]
        large = [sum(job.ask.job_class == "continued_pretraining" for job in jobs) for jobs in weeks]
        loads = [work_h(jobs) for jobs in weeks]
        spread[draws] = [statistics.stdev(values) / statistics.mean(values) for values in (large, loads)]
    assert spread["stratified"][0] < 0.6 * spread["independent"][0]
    assert spread["stratified"][1] < spread["independent"][1]
    assert spread["stratified"][1] < 0.12


def test_stratified_draws_keep_the_distribution_of_runtimes() -> None:
    jobs = demand(days=200, estimates="exact", classes={"fine_tuning": {"fail_prob": 0, "cancel_prob": 0}}).jobs
    hours = np.array([job.runtime_s / 3600 for job in jobs if job.ask.job_class == "fine_tuning"])
    assert np.median(hours) == pytest.approx(5.0, rel=0.03)
    assert np.log(hours).std() == pytest.approx(0.9, rel=0.04)


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_longer_run_keeps_its_earlier_jobs(draws: str) -> None:
    short, long = demand(days=5, draws=draws).jobs, demand(days=11, draws=draws).jobs
    assert short == tuple(job for job in long if job.ask.submit_s < 5 * 86_400)
    assert len(long) > len(short)


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_site_more_changes_no_other_draw(draws: str) -> None:
    rate = {"jobs_per_day_per_million": 8.0, "draws": draws, "gang_cap": 32}
    before = by_id(demand(**rate).jobs)
    after = by_id(demand([*PLACES, Place("nador", "ORI", 2.3e6, 40)], **rate).jobs)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("nador") for name in after.keys() - before.keys())


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_higher_rate_only_adds_jobs(draws: str) -> None:
    low, high = by_id(demand(load=0.3, draws=draws).jobs), by_id(demand(load=0.5, draws=draws).jobs)
    assert len(high) > 1.4 * len(low)
    assert {name: high[name] for name in low} == low


def test_seeds_differ_and_repeat() -> None:
    assert demand(seed=1).jobs == demand(seed=1).jobs
    assert demand(seed=1).jobs != demand(seed=2).jobs


def test_start_within_a_day_keeps_the_dates_jobs() -> None:
    later = datetime(2025, 12, 1, 18, tzinfo=UTC)
    full = {job.ask.job_id: job.ask.submit_s for job in demand(days=3).jobs if job.ask.submit_s >= 18 * 3600}
    part = {job.ask.job_id: job.ask.submit_s + 18 * 3600 for job in demand(days=2.25, start=later).jobs}
    assert part == full


@settings(max_examples=25, deadline=None)
@given(
    gpus=st.lists(st.sampled_from([8, 24, 40, 80, 96]), min_size=1, max_size=4),
    cap=st.floats(0.5, 100),
    seed=st.integers(0, 2**40),
    days=st.floats(0.05, 3),
    load=st.floats(0.05, 1.5),
)
def test_every_job_is_sane(gpus: list[int], cap: float, seed: int, days: float, load: float) -> None:
    places = [Place(f"s{i}", f"R{i}", 1e6 * (i + 1), g) for i, g in enumerate(gpus)]
    result = demand(places, days, seed, runtime_cap_h=cap, load=load)
    assert result.notes["gang_cap_gpus"] <= max(1, min(gpus) / 2)
    for job in result.jobs:
        ask = job.ask
        assert 0 <= ask.submit_s < days * 86_400
        assert 1 <= ask.gpus <= result.notes["gang_cap_gpus"]
        assert 0 < job.truth.work_gpu_s <= ask.gpus * (cap * 3600 + TICK_S)
        assert ask.estimate_s >= job.truth.work_gpu_s / ask.gpus * (1 - 1e-9)
        assert 0 < job.truth.ends_at <= 1
        assert (job.truth.ending == "done") <= (job.truth.ends_at == 1)
        assert ask.tenant.region == places[int(ask.home[1:])].region
    ids = [job.ask.job_id for job in result.jobs]
    assert len(set(ids)) == len(ids)
    assert [job.ask.submit_s for job in result.jobs] == sorted(job.ask.submit_s for job in result.jobs)


def test_chains_follow_each_other_and_end_once() -> None:
    jobs = demand(days=60, runtime_cap_h=12, estimates="exact").jobs
    chains: dict[str, list[Job]] = {}
    for job in jobs:
        name, dot, part = job.ask.job_id.partition(".")
        if dot:
            chains.setdefault(name, []).append(job)
            assert int(part) == 1 or job.ask.submit_s < 36 * 3600 or len(chains[name]) == int(part)
    assert len(chains) > 50
    for chain in chains.values():
        assert all(job.truth.ending == "done" for job in chain[:-1])
        assert len({(job.ask.gpus, round(job.truth.work_gpu_s)) for job in chain}) == 1
        for first, second in itertools.pairwise(chain):
            gap = second.ask.submit_s - first.ask.submit_s
            assert gap == pytest.approx(first.ask.estimate_s, abs=2)


def test_estimates_are_over_exact_or_a_factor() -> None:
    ratios = {
        kind: [job.ask.estimate_s / (job.truth.work_gpu_s / job.ask.gpus) for job in demand(estimates=kind).jobs]
        for kind in ("limits", "exact", "factor")
    }
    assert ratios["exact"] == pytest.approx([1.0] * len(ratios["exact"]))
    assert ratios["factor"] == pytest.approx([1.5] * len(ratios["factor"]), rel=1e-3)  # times are whole ticks
    assert min(ratios["limits"]) >= 1 - 1e-9
    assert statistics.median(ratios["limits"]) > 1.3


def test_shares_of_the_mix_come_out() -> None:
    jobs = demand(days=70).jobs
    n = len(jobs)
    functions = load_mix("institutes", HERE).functions
    for name, function in functions.items():
        share = sum(job.ask.tenant.function == name for job in jobs) / n
        assert share == pytest.approx(function.share, abs=0.02)
    assert sum(not job.ask.interruptible for job in jobs) / n == pytest.approx(0.3, abs=0.02)
    assert {job.ask.tenant.programme for job in jobs} == {"", "arabic", "darija", "amazigh"}
    for job in jobs:
        if job.ask.tenant.programme == "amazigh":
            assert job.ask.dataset.name == "amazigh_speech"
            assert job.ask.dataset.home == "rabat"
    regions = [job.ask.tenant.region for job in jobs]
    people = sum(place.population for place in PLACES)
    for place in PLACES:
        assert regions.count(place.region) / n == pytest.approx(place.population / people, abs=0.02)


def test_arrivals_follow_local_hours_and_weekdays() -> None:
    jobs = demand(days=7 * 30, load=1.0).jobs
    arrival = load_mix("institutes", HERE).arrival
    hours = np.array([int(job.ask.submit_s // 3600 + 1) % 24 for job in jobs])  # Morocco is an hour ahead of UTC
    assert np.corrcoef(np.bincount(hours, minlength=24), arrival.hour)[0, 1] > 0.97
    days = np.array([int((job.ask.submit_s + 3600) // 86_400) % 7 for job in jobs])  # starts on a Monday
    assert np.corrcoef(np.bincount(days, minlength=7), arrival.weekday)[0, 1] > 0.99


def test_growth_and_sites_that_come_online_later() -> None:
    year = 365.0
    places = [replace(place, gpus=8) for place in PLACES]
    jobs = demand(places, year, growth_per_year=1.0).jobs
    half = sum(job.ask.submit_s < year / 2 * 86_400 for job in jobs)
    assert (len(jobs) - half) / half == pytest.approx(2**0.5, rel=0.05)
    later = [replace(places[0], online_s=3 * 86_400.0), *places[1:]]
    none, all_jobs = by_id(demand(later).jobs), by_id(demand(later, before_online="submit").jobs)
    assert all(j.ask.submit_s >= 3 * 86_400 for j in none.values() if j.ask.home == "casablanca")
    assert {n: j for n, j in all_jobs.items() if j.ask.home != "casablanca" or j.ask.submit_s >= 3 * 86_400} == none
    assert all_jobs == by_id(demand(places).jobs)


def test_pretraining_is_left_out_unless_asked_for() -> None:
    assert "pretraining" not in {job.ask.job_class for job in demand(days=28).jobs}
    assert "pretraining" in {job.ask.job_class for job in demand(days=28, include=["pretraining"]).jobs}


def test_partner_abroad_neither_submits_nor_counts() -> None:
    partner = Place("lyon", "ARA", 0, 800, "FR")
    assert demand([*PLACES, partner]).jobs == demand().jobs


def test_elastic_jobs_carry_a_curve() -> None:
    jobs = demand(elastic={"share": 0.5, "law": "amdahl", "serial": 0.02}).jobs
    elastic = [job.ask for job in jobs if job.ask.elasticity == "malleable"]
    large = [job.ask for job in jobs if job.ask.gpus > 1]
    assert len(elastic) / len(large) == pytest.approx(0.5, abs=0.06)
    assert len({id(ask.speedup) for ask in elastic}) == 1
    for ask in elastic:
        assert ask.gpus_min <= ask.gpus <= ask.gpus_max <= 32
        assert ask.gpus_min == -(-ask.gpus // 2)
        assert ask.rate(ask.gpus_max) >= ask.rate(ask.gpus) == ask.gpus
        assert ask.rate(ask.gpus_min) <= ask.gpus
    curve = elastic[0].speedup
    assert curve is not None
    assert curve.at(16) == pytest.approx(1 / (0.02 + 0.98 / 16))
    plain = [replace(j.ask, elasticity="rigid", gpus_min=0, gpus_max=0, speedup=None) for j in jobs]
    assert plain == [j.ask for j in demand().jobs]


def test_speed_up_by_table_bounds_the_sizes() -> None:
    model = ElasticModel.model_validate({"share": 1, "law": "table", "gpus": [1, 4, 8], "throughput": [1.0, 3.5, 6.0]})
    assert elastic_range(model, 8, 32) == (4, 8)
    assert elastic_range(model, 2, 32) == (1, 4)
    assert speed_up(model, 32).at(4) == 3.5
    power = ElasticModel.model_validate({"share": 1, "exponent": 0.9})
    assert speed_up(power, 100).at(100) == pytest.approx(100**0.9)


def test_every_number_of_the_catalogue_says_where_it_comes_from() -> None:
    assert "institutes" in bundled("mixes")
    for name in bundled("mixes"):
        mix = load_mix(name, HERE)
        texts = [mix.arrival.source]
        texts += [d.basis for d in mix.datasets.values()] + [f.basis for f in mix.functions.values()]
        for model in mix.classes.values():
            keys = {"gpus", "runtime", "slack_h", "interruptible_share", "checkpoint", "outcome", "intensity"}
            assert keys <= set(model.basis) <= keys | {"flexibility", "power_curve"}
            texts += model.basis.values()
        assert all(text.lower().startswith(("fact", "choice")) for text in texts)


def test_streams_are_named_and_their_blocks_differ() -> None:
    key = streams.key(1, "workload/rabat/fine_tuning")
    assert key == int.from_bytes(bytes.fromhex("e101f7a937f035018840d2d922ccc242"), "little")
    first = streams.stream(key, 739_221).random(1000)
    assert (first == streams.stream(key, 739_221).random(1000)).all()
    assert abs(np.corrcoef(first, streams.stream(key, 739_222).random(1000))[0, 1]) < 0.15
    assert 0 <= streams.uniform(1, "a") < 1
    assert streams.uniform(1, "a") != streams.uniform(2, "a")


def test_mean_runtime_is_that_of_the_quantiles() -> None:
    model = load_mix("institutes", HERE).classes["preparation"]
    middle = (np.arange(400_000) + 0.5) / 400_000
    for least, most in ((1.0, 1e9), (600.0, 7200.0), (1.0, 60.0)):
        assert model.mean_runtime_s(least, most) == pytest.approx(
            np.clip(model.runtime_s(middle), least, most).mean(), rel=2e-3
        )


def test_runtimes_are_lognormal_at_every_quantile() -> None:
    from scipy.stats import lognorm

    model = load_mix("institutes", HERE).classes["preparation"]
    quantiles = np.concatenate((np.random.default_rng(1).random(2_000), [1e-9, 0.5, 1.0 - 1e-9]))
    known = lognorm.ppf(quantiles, model.runtime_sigma, scale=3600.0 * model.runtime_median_h)
    assert model.runtime_s(quantiles) == pytest.approx(known, rel=1e-9)
    assert np.isfinite(model.runtime_s(np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"lod": 0.5}, "workload.lod: unknown key"),
        ({"load": -1}, "workload.load: -1 is not allowed: should be greater than 0"),
        ({"load": 0.5, "jobs_per_day_per_million": 3}, "not both"),
        ({"kind": "generatr"}, "did you mean 'generator'"),
        ({"elastic": {"shar": 1}}, "workload.elastic.shar: unknown key"),
        ({"elastic": {"law": "table"}}, "needs gpus"),
    ],
)
def test_mistakes_in_the_table_are_named(table: dict[str, object], said: str) -> None:
    assert said in mistakes(table)
    assert mistakes({}) == ""


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"mix": "institute"}, "did you mean 'institutes'"),
        ({"mix": "none.toml"}, "no file"),
        ({"classes": {"fine_tunning": {}}}, "did you mean 'fine_tuning'"),
        ({"classes": {"fine_tuning": {"runtime_h": 3}}}, "no key 'runtime_h'"),
        ({"classes": {"fine_tuning": {"runtime_median_h": -3}}}, "runtime_median_h"),
        ({"classes": {"fine_tuning": {"gpus": [1]}}}, "the same length"),
        ({"leave_out": ["evaluations"]}, "did you mean 'evaluation'"),
        ({"leave_out": list(load_mix("institutes", HERE).classes)}, "leaves no class"),
    ],
)
def test_mistakes_about_the_mix_are_named(table: dict[str, object], said: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        demand(**table)
    assert said in str(caught.value)


def test_a_load_is_of_sites_abroad_where_there_are_no_others() -> None:
    """The same jobs at a site in Torino as at one in Morocco of the same size."""
    here, abroad = (demand([Place("a", "A", 1e6, 16, country)]).jobs for country in ("MA", "IT"))
    assert len(here) > 10
    assert [job.ask.submit_s for job in here] == [job.ask.submit_s for job in abroad]


def test_places_that_cannot_have_a_workload() -> None:
    with pytest.raises(WorkloadError, match="inhabitants"):
        demand([Place("a", "A", 0, 8)])
    with pytest.raises(WorkloadError, match="GPUs in MA, the mix's country, and there are none"):
        demand([Place("a", "A", 1e6, 0)])
    with pytest.raises(WorkloadError, match="time zone"):
        demand(start=datetime(2025, 12, 1))
    with pytest.raises(WorkloadError, match="days"):
        demand(days=0)
