"""Fits and their goodness, descriptions with figures, and the load of services."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders.workloads import workload_from

from tafukt.experiments.figures import workload as figures
from tafukt.workloads import describe
from tafukt.workloads.build import build
from tafukt.workloads.errors import WorkloadError
from tafukt.workloads.fit import fit_tables, fit_tables_by_size, fit_trace
from tafukt.workloads.mix import MixModel, load_mix
from tafukt.workloads.schema import Place
from tafukt.workloads.service import service_from, service_load
from tafukt.workloads.traces.formats import load_table
from tafukt.workloads.traces.table import TraceTable
from tafukt.workloads.units import DAY_S

START = datetime(2025, 12, 1, tzinfo=UTC)
PLACES = [Place("casablanca", "CSE", 7.7e6, 80), Place("rabat", "RSK", 5.1e6, 80)]


def made_up_trace(n: int = 6000, days: int = 28) -> TraceTable:
    """A trace whose large jobs are long, and which sleeps at night and on Sundays."""
    rng = np.random.default_rng(3)
    day = rng.choice(days, n, p=np.where(np.arange(days) % 7 == 6, 0.2, 1.0) / (days - 0.8 * days / 7))
    hour = rng.choice(24, n, p=np.where(np.arange(24) < 8, 0.25, 1.375) / 24)
    units = rng.choice([1.0, 4.0, 16.0], n, p=[0.7, 0.2, 0.1])
    return TraceTable(
        row=np.arange(2, n + 2),
        submit_s=np.sort(day * DAY_S + hour * 3600 + rng.random(n) * 3600),
        runtime_s=np.exp(rng.normal(6 + 0.5 * np.log(units), 0.9, n)),
        units=units,
        estimate_s=np.full(n, np.nan),
        status=np.zeros(n, dtype=np.int8),
        cluster=np.zeros(n, dtype=np.int64),
        clusters=("",),
        kind=np.zeros(n, dtype=np.int64),
        kinds=("",),
        ids=None,
        epoch_day=20_000 - (20_000 - 4) % 7,
    )


def test_fit_to_a_trace_reproduces_it() -> None:
    fit = fit_trace(made_up_trace())
    assert fit.quality["ks_duration"] < 0.04
    assert fit.quality["ks_gpus"] < 0.02
    assert fit.quality["ks_inter_arrival"] < 0.04
    assert fit.quality["gpu_hours_ratio"] == pytest.approx(1, abs=0.15)
    assert fit.mix.arrival.weekday[6] == pytest.approx(0.2 * 7 / 6.2, abs=0.06)
    assert fit.mix.arrival.hour[3] == pytest.approx(0.25, abs=0.1)


def test_a_bad_fit_shows() -> None:
    """Arrivals in bursts are not what the generator draws, and the distance says so."""
    table = made_up_trace()
    bursts = TraceTable(**{**vars(table), "submit_s": np.floor(table.submit_s / DAY_S) * DAY_S})
    assert fit_trace(bursts).quality["ks_inter_arrival"] > 0.5


def test_fitted_mix_is_a_file_that_the_generator_reads(tmp_path: Path) -> None:
    fit = fit_trace(made_up_trace())
    (tmp_path / "fitted.toml").write_text(fit.toml())
    assert MixModel.model_validate(tomllib.loads(fit.toml())).classes == fit.mix.classes
    demand = build(workload_from({"mix": "fitted.toml", "load": 0.3}), PLACES, START, 28, 1, tmp_path)
    assert demand.notes["load_offered"] == pytest.approx(0.3, rel=0.15)
    assert {job.ask.gpus for job in demand.jobs} == {1, 4, 16}


def test_fit_needs_two_jobs() -> None:
    table = made_up_trace(2)
    one = TraceTable(**{k: v[:1] if isinstance(v, np.ndarray) else v for k, v in vars(table).items()})
    with pytest.raises(WorkloadError, match="two jobs"):
        fit_trace(one)


@pytest.mark.parametrize("cluster", ["Kalos", "Philly", "Helios"])
def test_fit_to_the_tables(shared_data: Path, cluster: str) -> None:
    quality = fit_tables(shared_data, cluster).quality
    assert quality["ks_duration"] < 0.02
    assert quality["ks_gpus"] < 0.02


def test_fit_by_size_has_the_gpu_time_of_the_tables_too(shared_data: Path) -> None:
    fit = fit_tables_by_size(shared_data, "Philly")
    assert fit.quality["ks_duration"] < 0.01
    assert fit.quality["ks_gpus"] < 0.01
    assert fit.quality["ks_gpu_time"] < 0.05
    bundled = load_mix("philly-like", Path())
    assert set(bundled.classes) == set(fit.mix.classes)
    for name, model in bundled.classes.items():
        assert model.mean_runtime_s(1, 1e9) == pytest.approx(fit.mix.classes[name].mean_runtime_s(1, 1e9), rel=0.01)


def test_philly_like_jobs_are_as_published() -> None:
    """Means and shares that Jeon et al. 2019 and Hu et al. 2024 print of Philly's 117,325 jobs."""
    model = workload_from(
        {
            "mix": "philly-like",
            "jobs_per_day_per_million": 100,
            "gang_cap": 32,
            "runtime_cap_h": 720,
            "estimates": "exact",
        }
    )
    jobs = build(model, [Place("x", "X", 1e6, 64)], START, 300, 1, Path()).jobs
    gpus = np.array([job.ask.gpus for job in jobs])
    hours = np.array([job.runtime_s for job in jobs]) / 3600
    assert (gpus == 1).mean() == pytest.approx(0.824, abs=0.005)
    assert (gpus <= 8).mean() == pytest.approx(0.989, abs=0.003)
    assert hours.mean() * 3600 == pytest.approx(18_006, rel=0.08)
    assert np.median(hours) * 3600 == pytest.approx(874, rel=0.1)
    work = gpus * hours
    assert work[gpus <= 8].sum() / work.sum() == pytest.approx(0.88, abs=0.04)
    assert work[gpus == 1].sum() / work.sum() == pytest.approx(0.164, abs=0.04)


def test_tables_that_are_not_there(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="did you mean 'Helios'"):
        fit_tables(shared_data, "Helio")
    with pytest.raises(WorkloadError, match="no table"):
        fit_tables(tmp_path, "Helios")


def test_facts_of_a_drawn_workload_add_up() -> None:
    demand = build(workload_from({}), PLACES, START, 14, 1, Path())
    facts = describe.facts(describe.of_jobs(demand.jobs, START))
    assert facts["jobs"] == len(demand.jobs) == sum(facts["jobs_by_gpus"].values())
    assert sum(facts["jobs_by_ending"].values()) == facts["jobs"]
    for group in ("by_class", "by_region"):
        assert sum(row["jobs"] for row in facts[group].values()) == facts["jobs"]
        assert sum(row["gpu_hours"] for row in facts[group].values()) == pytest.approx(facts["gpu_hours"])
    assert facts["gpu_hours"] == pytest.approx(sum(demand.notes["gpu_hours_by_class"].values()), abs=0.1)
    assert facts["interruptible_share"] == pytest.approx(0.7, abs=0.05)
    assert facts["estimates_below_runtime"] == 0


def test_local_time_of_arrivals() -> None:
    demand = build(workload_from({"load": 1.0}), PLACES, START, 28, 1, Path())
    work = describe.of_jobs(demand.jobs, START)
    assert work.weekday == 0
    assert int(np.argmin(describe.arrivals_by_weekday(work))) == 6
    assert int(np.argmin(describe.arrivals_by_hour(work))) in (6, 7, 8)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_page_of_figures(tmp_path: Path, ending: str) -> None:
    demand = build(workload_from({}), PLACES, START, 3, 1, Path())
    path = figures.save_page(describe.of_jobs(demand.jobs, START, "three days"), tmp_path / f"page.{ending}")
    assert path.stat().st_size > 10_000
    titles = {axis.get_title(loc="left") for axis in figures.workload_page(describe.of_jobs(demand.jobs, START)).axes}
    assert titles >= {"Duration", "Gang size", "GPU time by class", "Arrivals by hour", "Arrivals by weekday"}


def test_page_and_facts_of_no_jobs(tmp_path: Path) -> None:
    nothing = describe.of_jobs([], START)
    assert describe.facts(nothing) == {"title": "workload", "jobs": 0}
    assert figures.save_page(nothing, tmp_path / "none.png").exists()


def test_trace_file_is_described(shared_data: Path, tmp_path: Path) -> None:
    work, notes = describe.of_file(shared_data / "traces" / "nasa_ipsc_1993.swf.gz")
    assert notes["format"] == "swf"
    assert describe.facts(work)["jobs"] == 18_239
    philly = load_table("philly_2017.csv.gz", "philly", shared_data / "traces")[0]
    assert describe.of_table(philly).weekday == 0  # 4 September 2017
    path = tmp_path / "other.csv"
    path.write_text("one,two\n1,2\n")
    with pytest.raises(WorkloadError, match="fit no bundled format"):
        describe.of_file(path)


def test_service_load_is_its_mean_and_follows_people() -> None:
    service = service_from({})
    load = service_load(service, PLACES, START, 364, 3600.0)
    for place in PLACES:
        expected = place.population * 0.02 * 5 * 0.3 / 24
        assert load[place.site].mean() == pytest.approx(expected, rel=0.01)
        assert load[place.site].min() >= 0.2 * expected * 0.99
    assert load["casablanca"] / load["rabat"] == pytest.approx(np.full(364 * 24, 7.7 / 5.1))


def test_service_load_peaks_in_local_evening_and_drops_on_sunday() -> None:
    load = service_load(service_from({}), PLACES, START, 7, 900.0)["rabat"]
    day = load[: 24 * 4]
    assert 17 <= np.argmax(day) / 4 <= 21  # 18 to 22 h in Morocco
    by_day = load.reshape(7, -1).mean(axis=1)
    assert np.argmin(by_day) == 6
    assert by_day[1] > 1.2 * by_day[6]


def test_service_load_of_sites_that_come_online_and_share_a_region() -> None:
    places = [Place("a", "R", 1e6, 30), Place("b", "R", 1e6, 10), Place("c", "S", 1e6, 8, online_s=DAY_S)]
    load = service_load(service_from({"growth_per_year": 1.0}), places, START, 365, 3600.0)
    assert load["a"] == pytest.approx(3 * load["b"])
    assert not load["c"][:24].any()
    assert load["c"][24:].all()
    assert load["a"][-168:].mean() / load["a"][:168].mean() == pytest.approx(2**0.98, rel=0.03)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"use": "citizen"}, "did you mean 'citizens'"),
        ({"user_share": 0.1}, "did you mean 'users_share'"),
        ({"users_share": 1.1}, "users_share"),
        ({"weekday": [1.0]}, "weekday"),
    ],
)
def test_mistakes_in_a_service_are_named(table: dict[str, object], said: str) -> None:
    with pytest.raises(WorkloadError, match=said):
        service_from(table)
