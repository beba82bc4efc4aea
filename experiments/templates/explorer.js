// The charts over time: power balance, battery, sites and jobs of one run, all over the same stretch.
{
  const holder = document.getElementById("explorer");
  const given = document.getElementById("data");
  if (holder && given && typeof DecompressionStream === "function") explore(holder, JSON.parse(given.textContent));

  function explore(holder, page) {
    const byId = (id) => document.getElementById(id);
    const [pickScenario, pickPolicy, pickSeed, pickSite] = ["scenario", "policy", "seed", "site"].map((n) => byId("pick-" + n));
    const charts = byId("charts"), stretch = byId("stretch"), story = byId("story");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    const lines = page.lines, stored = page.flows.find((flow) => flow.key === "discharge").colour;
    const dashes = [[], [6, 3], [2, 2]];
    let run = null, plots = [], whole = [0, 1], busy = false, asked = 0;

    const options = (select, values, chosen) => {
      select.replaceChildren(...values.map((value) => new Option(value[1], value[0], false, String(value[0]) === String(chosen))));
      select.parentElement.hidden = values.length < 2;
    };
    const distinct = (values) => Array.from(new Set(values)).map((value) => [value, value]);

    function narrow() {
      const scenarios = distinct(page.runs.map((r) => r.scenario));
      options(pickScenario, scenarios, pickScenario.value || page.runs[0].scenario);
      const here = page.runs.filter((r) => r.scenario === pickScenario.value);
      options(pickPolicy, distinct(here.map((r) => r.policy)), here.some((r) => r.policy === pickPolicy.value) ? pickPolicy.value : here[0].policy);
      const mine = here.filter((r) => r.policy === pickPolicy.value);
      options(pickSeed, distinct(mine.map((r) => r.seed)), mine.some((r) => String(r.seed) === pickSeed.value) ? pickSeed.value : mine[0].seed);
      return mine.find((r) => String(r.seed) === pickSeed.value) || mine[0];
    }

    async function show(keep) {
      const chosen = narrow(), turn = ++asked;
      const bytes = Uint8Array.from(atob(chosen.data), (c) => c.charCodeAt(0));
      const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      const found = JSON.parse(await new Response(unpacked).text());
      if (turn !== asked) return;  // another was chosen meanwhile
      const before = keep && plots.length ? [plots[0].scales.x.min, plots[0].scales.x.max] : null;
      run = found;
      run.chosen = chosen;
      run.x = run.minutes.map((m) => run.start + m * 60);
      run.x.push(run.start + run.end * 60);
      const site = run.sites.includes(pickSite.value) ? pickSite.value : "";
      options(pickSite, run.sites.length > 1 ? [["", `all ${run.sites.length} sites`], ...distinct(run.sites)] : [["", run.sites[0]]], site);
      byId("job-names").replaceChildren(...run.jobs.id.slice(0, 500).map((name) => new Option(name)));
      story.replaceChildren();
      draw(before);
    }

    // A series of the chosen site or of all together, in kW or kWh; the last value holds to the end of its step.
    function values(key, site) {
      const rows = run.series[key];
      if (!rows) return null;
      const at = run.sites.indexOf(site);
      const made = run.minutes.map((_, i) => (at >= 0 ? rows[at][i] : rows.reduce((sum, row) => sum + row[i], 0)) / 10);
      made.push(made[made.length - 1]);
      return made;
    }

    const number = (value, unit) => (value == null ? "" : value.toLocaleString("en", { maximumFractionDigits: 1 }) + " " + unit);
    const when = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB",
      { timeZone: run.tz, weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

    function base(title, height, unit, series, more) {
      const faint = colour("line"), ink = colour("ink");
      const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
      return {
        width: Math.max(charts.clientWidth, 200), height, tzDate: (t) => uPlot.tzDate(new Date(t * 1e3), run.tz),
        cursor: { sync: { key: "stretch" }, drag: { x: true, y: false, setScale: true }, focus: { prox: 24 } },
        focus: { alpha: 0.35 }, legend: { live: true },
        scales: { x: { time: true, range: (u, low, high) => [Math.max(low, whole[0]), Math.min(high, whole[1])] } },
        axes: [{ ...axis, values: ticks, space: 64 }, { ...axis, size: 62, label: unit, labelSize: 16, labelFont: "12px system-ui" }],
        series: [{ label: "time", value: (u, t) => (t == null ? "" : when(t)) }, ...series],
        hooks: { setScale: [(u, key) => key === "x" && together(u)], draw: [idle] },
        ...more,
      };
    }

    // Midnights by their date, other times by the clock, both local.
    function ticks(u, splits, axis, space, step) {
      const zone = { timeZone: run.tz };
      const year = splits.length > 1 && splits[splits.length - 1] - splits[0] > 300 * 86400;
      return splits.map((t) => {
        const at = new Date(t * 1000), clock = at.toLocaleTimeString("en-GB", { ...zone, hour: "2-digit", minute: "2-digit" });
        if (clock !== "00:00" && step < 86400) return clock;
        return at.toLocaleDateString("en-GB", year ? { ...zone, month: "short", year: "numeric" } : { ...zone, day: "numeric", month: "short" });
      });
    }

    // Where no more jobs arrive.
    function idle(u) {
      if (run.arrivals_end == null) return;
      const from = Math.max(u.valToPos(run.start + run.arrivals_end * 60, "x", true), u.bbox.left);
      const width = u.bbox.left + u.bbox.width - from;
      if (width <= 0) return;
      u.ctx.save();
      u.ctx.fillStyle = "rgba(128,128,128,.13)";
      u.ctx.fillRect(from, u.bbox.top, width, u.bbox.height);
      u.ctx.restore();
    }

    function together(u) {
      if (busy || u.scales.x.min == null) return;
      busy = true;
      const { min, max } = u.scales.x;
      for (const other of plots) if (other !== u && (other.scales.x.min !== min || other.scales.x.max !== max)) other.setScale("x", { min, max });
      stretch.textContent = `From ${when(min)} to ${when(max)}, local time (${run.tz}).` + (run.minutes.length < run.steps
        ? ` Of ${run.steps.toLocaleString("en")} steps, ${run.minutes.length.toLocaleString("en")} are drawn, including every peak.` : "");
      busy = false;
    }

    function draw(before) {
      for (const plot of plots) plot.destroy();
      plots = [];
      charts.replaceChildren();
      whole = [run.x[0], run.x[run.x.length - 1]];
      const site = pickSite.value, of = site || (run.sites.length > 1 ? `all ${run.sites.length} sites` : run.sites[0]);
      add(`Power balance of ${of} under ${run.chosen.policy}, seed ${run.chosen.seed}`, balance(site));
      if (run.series.stored) add(`Energy in the batteries of ${of}`, battery(site));
      if (run.sites.length > 1) add("Grid import of each site", imports(site));
      add(`Jobs on the GPUs of ${of}` + (run.jobs.left_out ? ` (${run.jobs.id.length.toLocaleString("en")} of ${(run.jobs.id.length + run.jobs.left_out).toLocaleString("en")}: those with the most energy and the longest waits)` : ""), jobs(site));
      const range = before || whole;
      plots[0].setScale("x", { min: range[0], max: range[1] });
    }

    function add(title, [made, data, after]) {
      const box = document.createElement("div"), head = document.createElement("h3");
      box.className = "chart";
      head.textContent = title;
      box.append(head);
      charts.append(box);
      const plot = new uPlot(made, data, box);
      plots.push(plot);
      if (after) after(plot, box);
    }

    const stepped = uPlot.paths.stepped({ align: 1 });

    function balance(site) {
      const shown = page.flows.map((flow) => ({ ...flow, values: values(flow.key, site) })).filter((flow) => flow.values && flow.values.some((v) => v > 0));
      let below = run.x.map(() => 0);
      for (const flow of shown) flow.top = below = flow.values.map((v, i) => v + below[i]);
      const load = values("load", site) || run.x.map(() => 0);
      const drawn = shown.slice().reverse();  // from the top down, each over the one before
      const series = drawn.map((flow) => ({
        label: flow.label, fill: flow.colour, stroke: flow.colour, width: 0, paths: stepped, points: { show: false },
        value: (u, v, s, i) => (i == null ? "" : number(flow.values[i], "kW")),
      }));
      series.push({ label: "load", stroke: colour("ink"), width: 1.5, paths: stepped, points: { show: false }, value: (u, v) => number(v, "kW") });
      return [base("", 270, "power [kW]", series, { cursor: { sync: { key: "stretch" }, drag: { x: true, y: false, setScale: true } } }), [run.x, ...drawn.map((flow) => flow.top), load]];
    }

    function battery(site) {
      const series = [{ label: "stored", stroke: stored, fill: stored + "4d", width: 1.3, points: { show: false }, value: (u, v) => number(v, "kWh") }];
      return [base("", 150, "stored [kWh]", series, {}), [run.x, values("stored", site)]];
    }

    function imports(site) {
      const series = run.sites.map((name, i) => ({
        label: name, stroke: lines[i % lines.length], dash: dashes[Math.floor(i / lines.length) % dashes.length], paths: stepped,
        width: site && site !== name ? 0.5 : 1.4, alpha: site && site !== name ? 0.4 : 1, points: { show: false }, value: (u, v) => number(v, "kW"),
      }));
      const data = run.sites.map((name) => {
        const direct = values("import_to_load", name), stored = values("import_to_battery", name);
        return run.x.map((_, i) => (direct ? direct[i] : 0) + (stored ? stored[i] : 0));
      });
      return [base("", 190, "import [kW]", series, {}), [run.x, ...data]];
    }

    function jobs(site) {
      const shown = site ? [run.sites.indexOf(site)] : run.sites.map((_, i) => i);
      const count = shown.length, part = 0.86;
      const boxes = run.jobs.boxes.filter((box) => shown.includes(box[1])).map(([job, at, begin, end, low, high, sun]) => {
        const floor = count - 1 - shown.indexOf(at), gpus = run.gpus[at] || 1;
        return { job, sun, x0: run.start + begin * 60, x1: run.start + end * 60, y0: floor + (low / gpus) * part, y1: floor + (high / gpus) * part };
      });
      const paint = (u) => {
        const { ctx } = u;
        ctx.save();
        ctx.beginPath();
        ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
        ctx.clip();
        const dark = matchMedia("(prefers-color-scheme: dark)").matches;  // a rim, since the darkest blue is lost on black
        ctx.strokeStyle = "rgba(255,255,255,.45)";
        ctx.lineWidth = 1;
        for (const box of boxes) {
          const left = u.valToPos(box.x0, "x", true), right = u.valToPos(box.x1, "x", true);
          const top = u.valToPos(box.y1, "y", true), bottom = u.valToPos(box.y0, "y", true);
          if (right < u.bbox.left || left > u.bbox.left + u.bbox.width) continue;
          ctx.fillStyle = shade(box.sun / 100);
          ctx.fillRect(left, top, Math.max(right - left, 1), Math.max(bottom - top - 0.5, 1));
          if (dark && right - left > 2) ctx.strokeRect(left + 0.5, top + 0.5, right - left - 1, Math.max(bottom - top - 1.5, 1));
        }
        ctx.restore();
      };
      const series = [{ label: "colour: share of sun, from none (blue) to all (yellow)", stroke: "transparent", points: { show: false }, value: () => "" }];
      const made = base("", Math.min(90 + 44 * count, 620), "", series, { cursor: { sync: { key: "stretch" }, drag: { x: true, y: false, setScale: true }, y: false } });
      made.scales.y = { range: [0, count] };
      Object.assign(made.axes[1], {
        splits: () => shown.map((_, i) => count - 1 - i + part / 2), values: () => shown.map((i) => run.sites[i]),
        size: 90, label: undefined, labelSize: 0, grid: { show: false }, ticks: { show: false },
      });
      made.hooks.draw.push(paint);
      return [made, [run.x, run.x.map(() => null)], (plot, holder) => pointing(plot, holder, boxes)];
    }

    // Cividis, by its ends and its middle: blue to grey to yellow, for those who see no red as well.
    function shade(share) {
      const stops = [[0, 34, 78], [124, 123, 120], [254, 232, 56]], at = Math.min(Math.max(share, 0), 1) * 2, i = Math.min(Math.floor(at), 1);
      return `rgb(${stops[i].map((low, k) => Math.round(low + (stops[i + 1][k] - low) * (at - i))).join(",")})`;
    }

    function pointing(plot, holder, boxes) {
      const tip = document.createElement("div");
      tip.className = "tip";
      tip.hidden = true;
      holder.append(tip);
      const under = (event) => {
        const frame = plot.over.getBoundingClientRect();
        const x = plot.posToVal(event.clientX - frame.left, "x"), y = plot.posToVal(event.clientY - frame.top, "y");
        const reach = (plot.scales.x.max - plot.scales.x.min) / frame.width * 2;
        return boxes.find((box) => box.x0 - reach <= x && x <= box.x1 + reach && box.y0 <= y && y <= box.y1);
      };
      let down = 0;
      plot.over.addEventListener("mousedown", (event) => { down = event.clientX; });
      plot.over.addEventListener("mousemove", (event) => {
        const box = under(event);
        tip.hidden = !box;
        plot.over.style.cursor = box ? "pointer" : "";
        if (!box) return;
        tip.textContent = `${run.jobs.id[box.job]}: ${run.jobs.said[box.job]}`;
        const frame = holder.getBoundingClientRect(), x = event.clientX - frame.left;
        tip.style.top = `${event.clientY - frame.top + 14}px`;
        tip.style.left = `${Math.max(0, Math.min(x + 10, frame.width - tip.offsetWidth - 4))}px`;
      });
      plot.over.addEventListener("mouseleave", () => { tip.hidden = true; });
      plot.over.addEventListener("click", (event) => {
        const box = under(event);
        if (box && Math.abs(event.clientX - down) < 5) tell(run.jobs.id[box.job]);
      });
    }

    function tell(name) {
      const at = run.jobs.id.indexOf(name), said = document.createElement("p");
      story.replaceChildren(said);
      if (at < 0) {
        said.textContent = `There is no job called ${name} in this page.`;
        return;
      }
      byId("pick-job").value = name;
      const found = run.jobs.stories[at];
      const strong = document.createElement("strong");
      strong.textContent = found ? found[0] : name;
      said.append(strong, ` · ${run.jobs.said[at]}`);
      if (found) {
        const list = document.createElement("ol");
        list.append(...found.slice(1).map((line) => Object.assign(document.createElement("li"), { textContent: line.trim() })));
        story.append(list);
      }
      const more = document.createElement("p"), code = document.createElement("code");
      code.textContent = `tafukt explain ${page.folder} ${name} --policy ${run.chosen.policy} --seed ${run.chosen.seed}` + run.chosen.where.map((at) => ` --where ${at}`).join("");
      more.append(found ? "In the terminal: " : "Its whole story: ", code);
      story.append(more);
    }

    function move(how) {
      const { min, max } = plots[0].scales.x, span = max - min, middle = (min + max) / 2;
      const to = {
        back: [min - span / 2, max - span / 2], on: [min + span / 2, max + span / 2], all: whole,
        in: [middle - span / 4, middle + span / 4], out: [middle - span, middle + span],
      }[how];
      let [low, high] = to;
      if (low < whole[0]) [low, high] = [whole[0], Math.min(whole[1], high + whole[0] - low)];
      if (high > whole[1]) [low, high] = [Math.max(whole[0], low - high + whole[1]), whole[1]];
      if (high - low >= 300) plots[0].setScale("x", { min: low, max: high });
    }

    for (const button of document.querySelectorAll("#explorer [data-move]")) button.addEventListener("click", () => move(button.dataset.move));
    charts.addEventListener("keydown", (event) => {
      const how = { ArrowLeft: "back", ArrowRight: "on", "+": "in", "=": "in", "-": "out", Home: "all" }[event.key];
      if (how && event.target === charts) { event.preventDefault(); move(how); }
    });
    for (const select of [pickScenario, pickPolicy, pickSeed]) select.addEventListener("change", () => show(true));
    pickSite.addEventListener("change", () => draw([plots[0].scales.x.min, plots[0].scales.x.max]));
    byId("tell-job").addEventListener("click", () => tell(byId("pick-job").value.trim()));
    byId("pick-job").addEventListener("keydown", (event) => { if (event.key === "Enter") tell(event.target.value.trim()); });
    document.addEventListener("choose-run", ({ detail }) => {
      const found = page.runs.find((r) => r.policy === detail.policy && r.scenario === detail.group);
      if (!found) return;
      narrow();
      pickScenario.value = found.scenario;
      narrow();
      pickPolicy.value = found.policy;
      show(true);
    });
    dark.addEventListener("change", () => run && draw([plots[0].scales.x.min, plots[0].scales.x.max]));
    let width = 0;
    new ResizeObserver(() => {
      if (Math.abs(charts.clientWidth - width) < 2) return;
      width = charts.clientWidth;
      for (const plot of plots) plot.setSize({ width: Math.max(width, 200), height: plot.height });
    }).observe(charts);
    if (document.querySelectorAll("#pareto .point").length > 12) document.getElementById("pareto").classList.add("many");
    holder.hidden = false;
    show(false);
  }
}
