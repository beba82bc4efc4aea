"""The page's charts: peaks survive thinning, packed runs say what the tables say, a browser shows them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import builders.records as records_of
import numpy as np
import pytest

from tafukt.experiments.report import explorer, report
from tafukt.experiments.report.pareto import points
from tafukt.experiments.results import load as loading

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=6000"
)
WATCH = """<script>
const faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
const wrong = console.error; console.error = (...all) => { faults.push(all.join(" ")); wrong(...all); };
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = records_of.write_folder(tmp_path_factory.mktemp("explore"), seeds=(1, 2), count=12)
    return made


@pytest.fixture(scope="module")
def best(folder: Path) -> str:
    """Who draws least with the first seed, and so is shown first."""
    rows = loading.load(folder).complete
    return str(rows[rows["seed"] == 1].sort_values("draw_kwh")["policy"].iloc[0])


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report.write_report(folder).read_text(encoding="utf-8")


def _unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))


def _data(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def test_thinning_keeps_every_peak_and_trough_of_each_stretch() -> None:
    rng = np.random.default_rng(2)
    columns = rng.normal(size=(20_000, 3)).cumsum(axis=0)
    columns[12_345] = (1e4, -1e4, 1e4)  # one step that towers above all
    rows = explorer.kept(columns, 600)
    assert 300 < len(rows) <= 600
    assert 12_345 in rows
    assert np.array_equal(columns[rows].max(axis=0), columns.max(axis=0))
    assert np.array_equal(columns[rows].min(axis=0), columns.min(axis=0))
    for part in np.array_split(np.arange(len(columns)), 50):  # coarser than any stretch
        here = rows[(rows >= part[0]) & (rows <= part[-1])]
        spread = np.ptp(columns[part], axis=0)
        assert (np.ptp(columns[here], axis=0) >= 0.8 * spread).all()


def test_a_short_run_is_kept_whole() -> None:
    assert explorer.kept(np.zeros((500, 4)), 600).tolist() == list(range(500))


def test_packed_series_are_the_tables(folder: Path) -> None:
    results = loading.load(folder)
    run = results["solar"]
    found = explorer.payload(run, 5000, 100, 100)
    energy = run.energy
    for index, site in enumerate(found["sites"]):
        here = energy[energy["site"] == site].head(len(found["minutes"]))
        power = here["import_to_load_kwh"].to_numpy() / here["step_h"].to_numpy()
        assert np.asarray(found["series"]["import_to_load"][index]) / 10 == pytest.approx(power, abs=0.0501)
        assert found["minutes"] == np.rint(here["time_h"] * 60).astype(int).tolist()
    jobs = run.jobs.set_index("job")
    for job, site, begin, end, low, high, _ in found["jobs"]["boxes"]:
        name = found["jobs"]["id"][job]
        assert begin >= jobs.loc[name, "start_h"] * 60 - 1
        assert end > begin
        assert 0 <= low < high <= found["gpus"][site]
    assert len(found["jobs"]["stories"]) == len(found["jobs"]["id"])
    first = found["jobs"]["stories"][0]
    assert first[0].startswith(found["jobs"]["id"][0])
    assert any("submitted at" in line for line in first)


def test_the_page_holds_the_runs_and_says_how_many_are_left_out(page: str, best: str) -> None:
    data = _data(page)
    assert [(run["policy"], run["seed"]) for run in data["runs"]][:2] == [(best, 1), ("fifo", 1)]
    assert len(data["runs"]) == 6
    assert _unpacked(data["runs"][0]["data"])["sites"] == ["site0", "site1"]
    assert "others are in the folder" not in page


def test_what_does_not_fit_is_left_out_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "RUNS_MOST", 2)
    found = explorer.embedded(loading.load(folder))
    assert (len(found["runs"]), found["left_out"]) == (2, 4)


def test_of_long_runs_fewer_are_read_and_each_is_finer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = loading.load(folder)
    monkeypatch.setattr(explorer, "NUMBERS_MOST", 6 * 3 * (len(explorer.STACK) + 2) * 10)
    monkeypatch.setattr(explorer, "STEPS_LEAST", 10)
    monkeypatch.setattr(explorer, "RUNS_LEAST", 1)
    rows = len(results["fifo"].energy)
    steps = {}
    for runs in (6, 3):
        monkeypatch.setattr(explorer, "ROWS_MOST", runs * rows)
        found = explorer.embedded(results)
        assert (len(found["runs"]), found["left_out"]) == (runs, 6 - runs)
        steps[runs] = len(_unpacked(found["runs"][0]["data"])["minutes"])
    assert steps[6] <= 10 < steps[3] <= 20


def test_no_text_of_the_user_closes_the_data(tmp_path: Path) -> None:
    assert report.embedded_json({"a": "</script><script>alert(1)</script><!--"}).count("<") == 0
    assert json.loads(report.embedded_json({"a": "</script>\u2028"})) == {"a": "</script>\u2028"}


def test_the_library_is_the_one_that_its_note_names() -> None:
    note = (report.TEMPLATES / "uplot.SOURCE").read_text(encoding="utf-8")
    for digest, name in re.findall(r"sha256 ([0-9a-f]{64})  (\S+)", note):
        assert hashlib.sha256((report.TEMPLATES / name).read_bytes()).hexdigest() == digest
    assert len(re.findall("sha256 ", note)) == 2


def test_the_licence_goes_with_the_page(page: str) -> None:
    assert "Permission is hereby granted, free of charge" in page
    assert "Leon Sorokin" in page


def test_pareto_points_lie_where_their_values_are(folder: Path) -> None:
    import pandas as pd

    means = pd.DataFrame(
        {"group": "", "policy": ["a", "b", "c"], "wait_mean_h": [0.0, 5.0, 10.0], "draw_kwh": [300.0, 200.0, 100.0]}
    )
    found = points(means)
    assert found is not None
    one, two, three = found["points"]
    assert one["x"] < two["x"] < three["x"]
    assert one["y"] < two["y"] < three["y"]  # down the page is less
    assert two["x"] == pytest.approx((one["x"] + three["x"]) / 2, abs=0.11)
    at = {tick["text"]: tick["at"] for tick in found["across"]}
    assert at["0"] == one["x"]
    assert points(means[means["policy"] == "a"]) is None


def _watched(page: str, path: Path, script: str) -> Path:
    """A copy with the policy lifted, faults gathered, and a script of the test's own at its end."""
    lifted = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', WATCH, page)
    path.write_text(lifted.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return path


def _title(path: Path, tmp_path: Path, *more: str) -> str:
    """What a page calls itself once its scripts have run."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here")
    command = [
        browser,
        *FLAGS.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        *more,
        "--dump-dom",
        f"file://{path}",
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False).stdout
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert found is not None, dom[:500]
    return found.group(1)


USE = """
setTimeout(async () => {
  const said = {};
  const pause = () => new Promise((done) => setTimeout(done, 250));
  said.charts = document.querySelectorAll("#charts canvas").length;
  said.hidden = document.getElementById("explorer").hidden;
  said.before = document.getElementById("stretch").textContent;
  document.querySelector("[data-move=in]").click(); await pause();
  said.after = document.getElementById("stretch").textContent;
  document.getElementById("charts").dispatchEvent(new KeyboardEvent("keydown", { key: "Home" })); await pause();
  said.whole = document.getElementById("stretch").textContent;
  document.getElementById("pick-site").value = "site1";
  document.getElementById("pick-site").dispatchEvent(new Event("change")); await pause();
  said.site = document.querySelector("#charts h3").textContent;
  document.getElementById("pick-policy").value = "fifo";
  document.getElementById("pick-policy").dispatchEvent(new Event("change")); await pause();
  said.policy = document.querySelector("#charts h3").textContent;
  document.getElementById("pick-job").value = document.querySelector("#job-names option").value;
  document.getElementById("tell-job").click(); await pause();
  said.story = document.getElementById("story").textContent;
  const row = document.querySelector("#compared tr[data-policy=solar]");
  row.dispatchEvent(new Event("mouseenter")); await pause();
  said.lit = Array.from(document.querySelectorAll(".lit")).map((one) => one.tagName + " " + one.dataset.policy);
  row.click(); await pause();
  said.chosen = document.getElementById("pick-policy").value;
  said.faults = faults;
  document.title = JSON.stringify(said);
}, 1200);
"""


def test_a_browser_explores_it_without_fault(page: str, best: str, tmp_path: Path) -> None:
    import html

    said = json.loads(html.unescape(_title(_watched(page, tmp_path / "copy.html", USE), tmp_path)))
    assert said["faults"] == []
    assert not said["hidden"]
    assert said["charts"] == 4
    assert said["before"] != said["after"]
    assert said["whole"] == said["before"]
    assert "local time (Africa/Casablanca)" in said["before"]
    assert said["site"] == f"Power balance of site1 under {best}, seed 1"
    assert said["policy"] == "Power balance of site1 under fifo, seed 1"
    assert "submitted at" in said["story"]
    assert "tafukt explain" in said["story"]
    assert said["lit"] == ["TR solar", "g solar"]
    assert said["chosen"] == "solar"


def test_the_policy_of_the_page_lets_its_own_script_run(folder: Path, page: str, tmp_path: Path) -> None:
    """The page as it is, its content security policy included: the charts are there."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here")
    command = [browser, *FLAGS.split(), f"--user-data-dir={tmp_path / 'p'}", "--enable-logging=stderr", "--dump-dom"]
    command.append(f"file://{folder / 'report.html'}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout.count("<canvas") == 4
    assert "CONSOLE" not in done.stderr


def _said_in_a_frame(page: str, tmp_path: Path, width: int, script: str) -> str:
    """What a script of the test's own tells the page around, from a frame of this width."""
    _watched(page, tmp_path / "inner.html", script)
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<title>waiting</title><iframe src="inner.html" style="width:{width}px;height:800px;border:0"></iframe>'
        "<script>onmessage = (event) => { document.title = event.data.join(' | '); };</script>"
    )
    return _title(outer, tmp_path, "--window-size=1600,1000")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_scrolls_sideways(page: str, tmp_path: Path, width: int) -> None:
    """In a frame as wide as a phone, a tablet, a desk: no part of the page is wider than the frame."""
    measure = """setTimeout(() => { const all = Array.from(document.querySelectorAll("main *"))
      .filter((one) => !one.closest(".scroll") && one.getBoundingClientRect().right > innerWidth + 1)
      .map((one) => one.tagName + "." + one.className);
      parent.postMessage([document.documentElement.scrollWidth, innerWidth, all.slice(0, 5).join()], "*"); }, 1500);"""
    whole, inner, wider = _said_in_a_frame(page, tmp_path, width, measure).split(" | ")
    assert int(inner) == width
    assert int(whole) <= width, wider
    assert wider == ""


def test_words_around_the_points_do_not_overlap_on_a_phone(page: str, tmp_path: Path) -> None:
    measure = """setTimeout(() => { const boxes = Array.from(document.querySelectorAll(".pareto .tick"))
      .map((one) => [one.textContent, one.getBoundingClientRect()]);
      const edge = document.querySelector(".pareto svg").getBoundingClientRect();
      const met = [boxes.length];
      boxes.forEach(([a, one], i) => { if (one.left < edge.left - 1) met.push(a + " is cut off");
        boxes.slice(i + 1).forEach(([b, two]) => { if (Math.min(one.right, two.right) > Math.max(one.left, two.left)
          && Math.min(one.bottom, two.bottom) > Math.max(one.top, two.top) + 1) met.push(a + " and " + b); }); });
      parent.postMessage(met, "*"); }, 1500);"""
    assert int(_said_in_a_frame(page, tmp_path, 360, measure)) > 8


CONTRAST = """setTimeout(() => {
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => { const f = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const over = (top, below) => { const a = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)); };
  const ground = (one) => { const all = [];
    for (; one; one = one.parentElement) all.push(parts(getComputedStyle(one).backgroundColor));
    return all.reverse().reduce((below, top) => top.length ? over(top, below) : below, [255, 255, 255]); };
  for (const one of document.querySelectorAll("details")) one.open = true;
  document.getElementById("tell-job").click();
  const faint = new Set(); let seen = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const one = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || ["SCRIPT", "STYLE", "TITLE", "OPTION"].includes(one.tagName)) continue;
    const look = getComputedStyle(one), box = one.getBoundingClientRect();
    if (!box.width || look.visibility === "hidden") continue;
    seen += 1;
    const below = ground(one), ink = over(parts(one.ownerSVGElement ? look.fill : look.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(look.fontSize), large = size >= 24 || (size >= 18.66 && Number(look.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.add(`${one.tagName}.${one.getAttribute("class") || ""} ${ratio.toFixed(2)}`);
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.title = JSON.stringify({ seen, faint: [...faint], dark });
}, 1500);"""


@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out_from_their_ground(page: str, tmp_path: Path, dark: bool) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5, of large letters 3, for every text of the page, light and dark."""
    import html

    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    said = json.loads(html.unescape(_title(_watched(page, tmp_path / "copy.html", CONTRAST), tmp_path, scheme)))
    assert said["dark"] is dark
    assert said["seen"] > 300
    assert said["faint"] == []
