"""Result folders that met with something: damage, other code, a move, a second process, odd names, missing files."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders.experiments import contents, run, tiny

import tafukt
from tafukt.experiments.cli.app import app, guarded
from tafukt.experiments.config.load import load_experiment
from tafukt.experiments.config.toml import find
from tafukt.experiments.errors import FolderError, InputError
from tafukt.experiments.runs import session
from tafukt.experiments.runs.folder import Folder
from tafukt.experiments.runs.pack import pack
from tafukt.experiments.runs.replay import replay

ROOT = Path(__file__).resolve().parents[2]


def command(*words: str) -> int:
    """Run a command in this process; its exit code."""
    return guarded(lambda: app(list(words), standalone_mode=False))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """The tiny experiment as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny())
    return path


# --- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["truncated", "missing", "flipped", "numbers"])
def test_what_does_not_hold_is_said_and_run_again(
    harm: str, experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(experiment, out)
    calm = contents(out)
    place = next((out / "runs").glob("solar-*"))
    table, verify = place / "energy.parquet", ["--verify"] if harm in ("flipped", "numbers") else []
    data = table.read_bytes()
    if harm == "truncated":
        table.write_bytes(data[:-100])
    elif harm == "missing":
        table.unlink()
    elif harm == "flipped":
        table.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    else:
        summary = json.loads((place / "summary.json").read_text())
        (place / "summary.json").write_text(json.dumps(summary | {"draw_kwh": 1.0}))
    assert command("run", str(experiment), "-o", str(out), "--workers", "1", *verify) == 0
    told = capsys.readouterr().err
    assert f"{place.name}: " in told
    assert "it is run again" in told
    assert contents(out) == calm


def test_replay_of_unreadable_tables_is_a_message(experiment: Path, tmp_path: Path) -> None:
    run(experiment, tmp_path / "out")
    table = next((tmp_path / "out" / "runs").glob("solar-*")) / "jobs.parquet"
    table.write_bytes(b"PAR1 nothing of the kind")
    found = replay(tmp_path / "out")
    assert [line for line in found.different if "jobs.parquet: cannot be read" in line]


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", ".."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, experiment: Path, tmp_path: Path) -> None:
    run(experiment, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["runs"] = {name: next(iter(manifest["runs"].values()))}
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FolderError, match="is not the name of a run"):
        tafukt.load(tmp_path / "out")
    sheet = tmp_path / "out" / "summary.csv"
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    rows = list(csv.reader(sheet.open()))
    rows[1][0] = name
    run(experiment, tmp_path / "new")
    with (tmp_path / "new" / "summary.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    with pytest.raises(FolderError, match="is not the name of a run"):
        tafukt.load(tmp_path / "new").run(policy="fifo")


def test_a_run_that_vanishes_is_no_success(experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    real = session.refresh

    def meanwhile(plan: session.RunPlan) -> object:
        shutil.rmtree(next((out / "runs").glob("solar-*")))
        return real(plan)

    monkeypatch.setattr(session, "refresh", meanwhile)
    outcome = run(experiment, out)
    assert not outcome.ok
    assert any("solar-" in fault and "not in the folder" in fault for fault in outcome.faults)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_policy_that_exits_is_a_failed_run(workers: int, experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys\ndef quits(view):\n    sys.exit(0)\n")
    outcome = run(experiment, tmp_path / "out", "policies=['mine.py:quits', 'fifo']", workers=workers)
    assert [row["status"] for row in outcome.rows] == ["failed", "complete"]
    assert "SystemExit" in outcome.rows[0]["reason"]
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(InputError, match="SystemExit"):
        run(experiment, tmp_path / "new", "policies=['mine.py:quits', 'fifo']")


# --- what is there counts ---------------------------------------------------------------------------------


def test_what_ran_before_a_stop_is_shown(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after kill -9 before the first refresh: runs are there, summary and manifest know nothing of them."""
    out = tmp_path / "out"
    run(experiment, out)
    whole = tafukt.load(out).summary
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["status"] = "incomplete"
    for entry in manifest["runs"].values():
        entry["status"] = "missing"
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "summary.csv").unlink()
    frame = tafukt.load(out).summary
    assert list(frame) == list(whole)
    assert frame["draw_kwh"].tolist() == whole["draw_kwh"].tolist()
    assert frame["grid_cut"].tolist() == whole["grid_cut"].tolist()
    assert command("compare", str(out)) == 0
    assert "solar" in capsys.readouterr().out


def of_version_0_1(out: Path) -> None:
    """Take from a result folder what version 0.1 did not write yet: columns, keys of the manifest, its code."""
    offered = json.loads((Path(__file__).parents[1] / "data" / "offered_0_1.json").read_text())["columns"]
    manifest = json.loads((out / "manifest.json").read_text())
    manifest |= {"tafukt": "0.1.0", "source_sha256": "0" * 64}
    (out / "manifest.json").write_text(json.dumps(manifest))
    rows = list(csv.reader((out / "summary.csv").open()))
    kept = [at for at, name in enumerate(rows[0]) if name in {*offered["summary"], "policy", "seed"}]
    with (out / "summary.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([[row[at] for at in kept] for row in rows])
    for table in ("jobs", "energy", "events"):
        for path in out.glob(f"runs/*/{table}.parquet"):
            whole = pq.read_table(path)
            pq.write_table(whole.select([name for name in whole.column_names if name in offered[table]]), path)


def test_results_of_other_code_can_still_be_shown(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(experiment, out)
    whole = tafukt.load(out)
    of_version_0_1(out)
    (out / "experiment.toml").write_text((out / "experiment.toml").read_text() + "\n[of_another_version]\nkey = 1\n")
    assert command("run", str(experiment), "-o", str(out)) == 2
    told = capsys.readouterr().err
    assert "by other code than this" in told
    assert "tafukt report, compare" in told
    assert "of_another_version" not in told, "keys that one version writes say nothing of the experiment"
    for words in (["compare"], ["report"], ["plot"], ["export"]):
        assert command(*words, str(out)) == 0, words
    old = tafukt.load(out)
    assert set(old.summary) == set(whole.summary)
    assert old.summary["draw_kwh"].tolist() == whole.summary["draw_kwh"].tolist()
    assert set(old["fifo"].energy) == set(whole["fifo"].energy)
    job = str(old["fifo"].jobs["job"].iloc[0])
    assert command("explain", str(out), job) == 0
    capsys.readouterr()
    assert command("replay", str(out)) == 2
    told = capsys.readouterr().err
    assert "by other code than this (0.1.0, 00000000" in told
    assert "of_another_version: unknown key" in told


def test_replay_names_the_packages_that_changed(experiment: Path, tmp_path: Path) -> None:
    run(experiment, tmp_path / "out")
    assert replay(tmp_path / "out").changed == ()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["packages"]["numpy"] = "1.0"
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    (changed,) = replay(tmp_path / "out").changed
    assert changed.startswith("numpy (was 1.0, is ")


def test_an_older_process_does_not_undo_an_extension(experiment: Path, tmp_path: Path) -> None:
    """A job array: one process begins, another extends the experiment and ends, and then the first ends."""
    out = tmp_path / "out"
    older = session.plan_runs(load_experiment(experiment), out)
    session.carry_out(older)
    run(experiment, out, "policies=['fifo', 'solar', 'easy']", "seeds=[1, 2]")
    extended = contents(out)
    rows = session.refresh(older)
    assert [row["policy"] for row in rows] == ["fifo", "solar"]
    assert contents(out) == extended


# --- a folder that moves ----------------------------------------------------------------------------------


def test_a_packed_folder_needs_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    rows = [f"j{i},2025-06-01T{i % 24:02d}:00:00Z,3600,{1 + i % 8},7200,lab,training,done" for i in range(12)]
    (home / "log.csv").write_text(
        "job_id,submit,runtime_s,gpus,estimate_s,tenant,class,status\n" + "\n".join(rows) + "\n"
    )
    trace = 'kind = "trace"\nfile = "log.csv"\nformat = "own"\nstart_day = 0\ngpu_cap = 8\nload_factor = 1\n'
    text = tiny().partition("[workload]")[0] + f'[workload]\n{trace}slack_h = 1\nestimates = "exact"\n'
    (home / "e.toml").write_text(text)
    run(home / "e.toml", home / "out")
    before = contents(home / "out" / "runs")
    assert not [name for name, data in before.items() if str(tmp_path).encode() in data], "a path in a result"
    (place,) = pack(home / "out")
    assert (home / "out" / place).read_bytes() == (home / "log.csv").read_bytes()
    assert str(tmp_path) not in (home / "out" / "experiment.toml").read_text()
    packed = contents(home / "out")
    assert run(home / "e.toml", home / "out").ok
    assert contents(home / "out") == packed, "running again unpacks nothing"
    shutil.move(home / "out", tmp_path / "moved")
    shutil.rmtree(home)
    found = replay(tmp_path / "moved")
    assert found.agrees
    assert not found.close
    assert not found.changed


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_folder_moves_with_files_of_ones_own(
    packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Log with its own column map, mix, weather, price and policy: after a move the folder tells and does the same."""
    home = tmp_path / "home"
    home.mkdir()
    _write_own_files(home)
    for kind in ("log", "mix"):
        run(home / f"{kind}.toml", home / kind)
        seen = contents(home / kind)
        assert not [name for name, data in seen.items() if name.startswith("runs/") and str(home).encode() in data]
        assert not [name for name, data in seen.items() if name.startswith("cells/") and str(home).encode() in data]
        if packed:
            pack(home / kind)
    shown = [_shown(home / kind, capsys) for kind in ("log", "mix")]
    shutil.move(home, tmp_path / "away")
    away = tmp_path / "away"
    assert [_shown(away / kind, capsys) for kind in ("log", "mix")] == shown
    for kind in ("log", "mix"):
        runs = contents(away / kind / "runs")
        gone = next((away / kind / "runs").iterdir())
        shutil.rmtree(gone)
        assert run(away / f"{kind}.toml", away / kind).ok, "resumed where it now stands"
        assert contents(away / kind / "runs") == runs
        assert replay(away / kind).agrees
    assert command("report", str(away / "log")) == 0, capsys.readouterr()


def _write_own_files(home: Path) -> None:
    rows = [f"j{i};2025-06-01T{i % 24:02d}:00:00Z;{600 * (1 + i % 5)};{1 + i % 8}" for i in range(12)]
    (home / "log.csv").write_text("id;when;secs;cards\n" + "\n".join(rows) + "\n")
    (home / "map.toml").write_text(
        'title = "Ours"\nsource = "ours"\nseparator = ";"\n[id]\ncolumn = "id"\nunit = "text"\n'
        '[submit]\ncolumn = "when"\nunit = "datetime"\n[runtime]\ncolumn = "secs"\nunit = "s"\n'
        '[gpus]\ncolumn = "cards"\nunit = "count"\n'
    )
    times = [f"2025-{5 if d == 31 else 6:02d}-{d:02d}T{h:02d}:00Z" for d in (31, *range(1, 9)) for h in range(24)]
    sun = [f"{t},{500 if 8 <= int(t[11:13]) < 16 else 0},20" for t in times]
    (home / "w.csv").write_text("time,ghi,temp_air\n" + "\n".join(sun) + "\n")
    (home / "p.csv").write_text("time,price\n" + "\n".join(f"{t},1.5" for t in times) + "\n")
    bundled = Path(str(files("tafukt.workloads"))) / "catalogue" / "mixes" / "institutes.toml"
    (home / "own_mix.toml").write_bytes(bundled.read_bytes())
    (home / "mine.py").write_text(
        "from tafukt.simulator.engine.actions import Start\n\n\ndef best(view):\n"
        "    for job in list(view.waiting.values()):\n"
        "        for site in view.fitting(job, view.sites_for(job), job.ask.gpus)[:1]:\n"
        "            yield Start(job, site)\n"
    )
    head = tiny(["fifo", "mine.py:best"]).partition("[sites]")[0] + "bound = false\ndrain_days = 2\n"
    place = '[sites.own.x]\nlat = 33.0\nlon = -7.0\ntz = "UTC"\ncluster.nodes = 2\npopulation = 1\n'
    place += (
        'weather = { kind = "csv", file = "w.csv" }\ngrid.price_mad_per_kwh = { file = "p.csv", column = "price" }\n'
    )
    log = 'kind = "trace"\nfile = "log.csv"\nformat = "map.toml"\nstart_day = 0\ngpu_cap = 8\nload_factor = 1\n'
    log += 'slack_h = 1\nestimates = "exact"\n'
    mix = 'kind = "generator"\nmix = "own_mix.toml"\nload = 0.3\nruntime_cap_h = 4\ngang_cap = 8\n'
    for name, workload in (("log", log), ("mix", mix)):
        (home / f"{name}.toml").write_text(f"{head}{place}[workload]\n{workload}")


def _shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `compare` and `explain` make of a folder, places apart."""
    job = str(tafukt.load(folder)["fifo"].jobs["job"].iloc[0])
    for words in (["compare", str(folder)], ["compare", str(folder), "--format", "csv"], ["explain", str(folder), job]):
        assert command(*words) == 0, capsys.readouterr()
    return [text.replace(str(folder.parent), "HOME") for text in capsys.readouterr()]


# --- names ------------------------------------------------------------------------------------------------

NAMES = ["شمس", "ⵜⴰⴼⵓⴽⵜ", "NA", "None", "nan", "-mine", "=1+1", "'=odd", "$x^$", "a b", "null", "_odd"]


def test_policies_may_be_called_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = ", ".join(f"{{ name = {json.dumps(name)}, order = 'fair' }}" for name in NAMES)
    text = tiny().replace('["fifo", "solar"]', f'[{tables}]\nbaseline = "-mine"')
    (tmp_path / "e.toml").write_text(text)
    out = tmp_path / "out"
    assert command("run", str(tmp_path / "e.toml"), "-o", str(out), "--workers", "1", "--set", "bound=false") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)
    results = tafukt.load(out)
    assert results.summary["policy"].tolist() == NAMES
    assert results.summary["grid_cut"].notna().all(), "the baseline was found"
    for name in NAMES:
        assert len(results[name].jobs)
    assert all(path.name.isascii() and not path.name.startswith("-") for path in (out / "runs").iterdir())
    assert command("compare", str(out)) == 0
    assert command("replay", str(out), "--workers", "1") == 0
    assert command("report", str(out)) == 0, "every figure could be drawn"
    page = unescape((out / "report.html").read_text(encoding="utf-8"))
    assert all(f'data-policy="{name}"' in page for name in NAMES)
    assert command("plot", str(out), "--figure", "policies") == 0


SITES = ["فاس", "ⴰⴳⴰⴷⵉⵔ", "Tétouan", "Ærø"]


def test_sites_may_be_called_in_any_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = "".join(f'[sites.own."{name}"]\nlike = "fes"\n' for name in SITES)
    text = tiny().replace('use = ["rabat", "dakhla"]', "").replace("[workload]", f"{own}[workload]")
    (tmp_path / "e.toml").write_text(f'{text}[matrix]\n"sites.own.{SITES[0]}.pv.kwp" = [5.0, 10.0]\n', encoding="utf-8")
    out = tmp_path / "out"
    assert run(tmp_path / "e.toml", out, f"sites.own.{SITES[2]}.fixed_kw=1.5").ok
    results = tafukt.load(out)
    assert results.axes == [f"sites.own.{SITES[0]}.pv.kwp"]
    data = results["fifo"]
    assert sorted(set(data.energy["site"])) == sorted(SITES)
    assert set(data.jobs["home"]) <= set(SITES)
    assert all(path.name.isascii() for path in (out / "runs").iterdir())
    job = str(data.jobs["job"].iloc[0])
    for words in (["compare", str(out)], ["replay", str(out), "--workers", "1"], ["explain", str(out), job]):
        assert command(*words) == 0, capsys.readouterr()
    assert job in capsys.readouterr().out
    assert command("plot", str(out), "--figure", "gantt") == 0
    assert command("plot", str(out), "--figure", "sites") == 0
    assert command("report", str(out)) == 0
    page = unescape((out / "report.html").read_text(encoding="utf-8"))
    assert all(name in page for name in SITES)
    assert "could not be drawn" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["1st", "a.b", "a b", "_a", "-a", "a/b", "Te\u0301touan", "a" * 65, "\u202eevil", "½"])
def test_a_name_that_cannot_be_a_sites_is_told(name: str, tmp_path: Path) -> None:
    text = tiny().replace("[workload]", f"[sites.own.{json.dumps(name, ensure_ascii=False)}]\nlike = 'fes'\n[workload]")
    (tmp_path / "e.toml").write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"letters of any script|accents are separate characters|each letter with its accent"
    ):
        load_experiment(tmp_path / "e.toml")


def test_names_in_figures_are_letters_also_outside_of_our_style() -> None:
    """`$x^$` is no formula that cannot be set, `$x$` no italic x, and a legend does not leave out `_odd`."""
    import pandas as pd
    from matplotlib.text import Text

    names = ["$x^$", "$x$", "_odd", "back\\slash", "50 %"]
    jobs = {name: pd.DataFrame({"wait_h": [0.5, 1.0]}) for name in names}
    columns = ("draw_kwh", "wait_mean_h", "grid_cut", "deadline_miss_rate", "bound_draw_kwh")
    rows = pd.DataFrame([{"policy": n, "seed": 1, **dict.fromkeys(columns, float(i))} for i, n in enumerate(names)])
    for ax in (
        tafukt.figures.waiting_cdf(jobs),
        tafukt.figures.waiting_rows(jobs),
        tafukt.figures.policies(rows),
        tafukt.figures.pareto(rows),
    ):
        ax.figure.savefig(io.BytesIO(), format="svg")
        shown = {text.get_text().strip("\u200b") for text in ax.findobj(Text) if not text.get_parse_math()}
        assert set(names) <= shown


def test_a_folder_of_another_experiment_names_the_first_differences_and_the_remedy(tmp_path: Path) -> None:
    """One change of all sites is one line, a site more or less is one line, and the remedy is never cut off."""
    short = ("days=1", "policies=['fifo']", "bound=false", "step_min=60")
    out = tmp_path / "out"
    week = find("morocco_week")
    run(week, out, *short)

    def told(*changed: str) -> list[str]:
        with pytest.raises(FolderError) as caught:
            run(week, out, *short, *changed)
        return [line.removeprefix(f"{out}: ") for line in str(caught.value).splitlines()]

    remedy = "holds another experiment: choose another folder with -o, or change the experiment back"
    assert told("sites.all.battery.kwh_per_node=20") == [
        "sites.all.battery.kwh_per_node: was 10 in these results, is 20 now",
        "sites.own.*.battery.kwh_per_node of 12 sites: was 10.0 in these results, is 20.0 now",
        remedy,
    ]
    assert told("sites.use=['rabat', 'fes']")[0] == (
        "sites: tanger, nador, casablanca, beni_mellal, errachidia, marrakech, ... (4 more) "
        "are in the folder but not in the experiment"
    )
    sizes = [f"sites.change.{site}.battery.kwh={size}" for size, site in enumerate(["fes", "rabat", "agadir"], 1)]
    many = told(*sizes, "name='x'", "workload.load=0.2", "workload.gang_cap=8", "drain_days=5")
    assert len(many) == 10
    assert many[-2].startswith("and ")
    assert many[-2].endswith(" more differences")
    assert many[-1] == remedy


def test_two_values_of_an_axis_that_are_one_are_refused(experiment: Path, tmp_path: Path) -> None:
    axis = "matrix.start=['2025-06-01T00:00:00Z', '2025-06-01T02:00:00+02:00']"
    with pytest.raises(InputError, match="one and the same scenario"):
        run(experiment, tmp_path / "out", axis)


def test_a_policy_of_a_package_is_hashed_by_its_code(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "house_policies"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text(
        "from house_policies.helper import X\nfrom tafukt.simulator.policies import list_scheduler as engine\n"
        "best = engine.Parts()\n"
    )
    (package / "helper.py").write_text("X = 1\n")
    setting = "policies=['fifo', 'house_policies.mine:best']"
    run(experiment, tmp_path / "out", setting)
    (package / "helper.py").write_text("X = 2\n")
    with pytest.raises(FolderError, match=r"source of 'house_policies\.mine:best' has changed"):
        run(experiment, tmp_path / "out", setting)


# --- processes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_says_how_far_it_came_and_leaves_nothing_behind(
    number: int, code: int, experiment: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("import time\ndef slow(view):\n    time.sleep(60)\n    return ()\n")
    out = tmp_path / "out"
    words = [sys.executable, "-m", "tafukt", "run", str(experiment), "-o", str(out), "--workers", "2"]
    words += ["--set", "policies=['mine.py:slow', 'fifo']", "--set", "bound=false"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("runs/fifo*/summary.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert "stopped, 1 of 2 runs done; the same command resumes" in told
    assert "Traceback" not in told
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not (out / ".tmp").exists()
    assert tafukt.load(out).summary["policy"].tolist() == ["fifo"]


@pytest.mark.parametrize("kib", [700_000, 450_000, 350_000])
def test_little_memory_is_a_message(kib: int, experiment: Path, tmp_path: Path) -> None:
    import resource

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (kib * 1024, kib * 1024))

    words = [sys.executable, "-m", "tafukt", "run", str(experiment), "-o", str(tmp_path / "out"), "--quiet"]
    done = subprocess.run(
        words, cwd=ROOT, preexec_fn=little, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1)
    if done.returncode:
        assert "memory" in done.stderr


def test_scratch_of_the_dead_is_swept_by_the_next_start(experiment: Path, tmp_path: Path) -> None:
    from tafukt.experiments.runs.folder import _host

    out = tmp_path / "out"
    run(experiment, out)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (out / ".tmp" / f"{_host()}-{int(dead.stdout)}-abc").mkdir(parents=True)
    assert run(experiment, out).ok
    assert not (out / ".tmp").exists()
    assert Folder(out).manifest()["status"] == "complete"
