"""The data dictionary: every column of every result table, with unit, type and meaning, as data.

The tables are written from it, the page `docs/data_dictionary.md` is generated from it
(`python -m tafukt.experiments.results.dictionary > docs/data_dictionary.md`), and figures take their
axis labels from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Dtype = Literal["float64", "int64", "bool", "string", "timestamp"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its unit ("" for none, "1" for a ratio), its type and what it means.

    A `nullable` column is blank (null, or NaN for a number) where it has no meaning.
    """

    name: str
    unit: str
    dtype: Dtype
    description: str
    nullable: bool = False

    @property
    def label(self) -> str:
        """Name in tables and figures, without its unit."""
        return LABELS.get(self.name) or (
            self.name if self.unit in ("", "1") or "_" not in self.name else self.name.removesuffix(_suffix(self.unit))
        ).replace("_", " ")

    @property
    def heading(self) -> str:
        """Heading of a narrow table: short words one under the other, then the unit, in which per cent need none."""
        words = HEADINGS.get(self.name) or self.label.replace(" ", "\n")
        return words if self.percent or not self.shown_unit else f"{words}\n{self.shown_unit}"

    @property
    def percent(self) -> bool:
        """Whether it is a ratio that people read in per cent."""
        return self.name in PERCENT

    @property
    def shown_unit(self) -> str:
        """The unit in which it is shown, "" for none."""
        return "%" if self.percent else "" if self.unit in ("1", "UTC", "jobs") else self.unit

    @property
    def axis_label(self) -> str:
        """Its label with its unit, as figures have it."""
        return f"{self.label} [{self.shown_unit}]" if self.shown_unit else self.label


LABELS = {
    "draw_kwh": "grid draw",
    "grid_cut": "grid cut",
    "captured": "captured saving",
    "renewable_fraction": "sun in load",
    "cost_mad": "cost",
    "emissions_kg": "emissions",
    "wait_mean_h": "mean wait",
    "wait_p95_h": "95th percentile of waits",
    "jct_mean_h": "mean time to end",
    "jct_p95_h": "95th percentile of times to end",
    "deadline_miss_rate": "deadlines missed",
    "bound_draw_kwh": "least possible",
    "best_known_draw_kwh": "best known",
    "emissions_cut": "emissions cut",
    "cost_cut": "cost cut",
    "bound_emissions_kg": "least emissions possible",
    "best_known_emissions_kg": "least emissions known",
    "bound_cost_mad": "least cost possible",
    "best_known_cost_mad": "least cost known",
    "draw_against_base_kwh_per_year": "draw against base, a year",
    "cost_against_base_mad_per_year": "cost against base, a year",
    "emissions_against_base_kg_per_year": "emissions against base, a year",
    "pue": "PUE",
    "site_kwh": "load",
    "it_kwh": "IT load",
    "online_gpus": "GPUs",
    "pv_available_kwh": "sun",
}
"""Headings of columns whose names do not say it; the one list that tables and figures take them from."""

HEADINGS = {
    "draw_kwh": "draw",
    "captured": "cap-\ntured",
    "renewable_fraction": "renew-\nable",
    "emissions_kg": "CO2e",
    "emissions_cut": "CO2e\ncut",
    "wait_mean_h": "wait",
    "deadline_miss_rate": "late",
    "draw_against_base_kwh": "against\nbase",
    "cost_against_base_mad": "against\nbase",
    "emissions_against_base_kg": "against\nbase",
    "draw_against_base_kwh_per_year": "a year",
    "cost_against_base_mad_per_year": "a year",
    "emissions_against_base_kg_per_year": "a year",
}
"""Shorter headings than their labels, for tables on a terminal."""

PERCENT = (
    "grid_cut", "account_cut", "emissions_cut", "cost_cut", "captured", "renewable_fraction", "self_consumption",
    "utilisation",
    "deadline_miss_rate", "battery_fade", "grid_events_met",
)  # fmt: skip


def _suffix(unit: str) -> str:
    return "_" + {"GPU-h": "gpu_hours", "°C": "c"}.get(unit, unit).lower().replace("/", "_per_")


def _text(name: str, description: str, nullable: bool = False) -> Column:
    return Column(name, "", "string", description, nullable)


def _number(name: str, unit: str, description: str, nullable: bool = False) -> Column:
    return Column(name, unit, "float64", description, nullable)


def _count(name: str, description: str, unit: str = "") -> Column:
    return Column(name, unit, "int64", description)


KEYS: tuple[Column, ...] = (
    _text("run", "Name of the run's folder under `runs/`"),
    _text("status", "`complete` or `failed`"),
    _text("policy", "Policy of the run"),
    _count("seed", "Seed of the run: same seed, same jobs and same sky under every policy"),
)

ENERGY_METRICS: tuple[Column, ...] = (
    _number("grid_import_kwh", "kWh", "Energy imported from the grid, to the load and to batteries"),
    _number(
        "draw_kwh",
        "kWh",
        "What `grid_cut`, `captured` and the bound speak of: grid_import + unserved + "
        "max(0, stored_start - stored_end) / charging efficiency, summed over sites",
    ),
    _number(
        "account_draw_kwh",
        "kWh",
        "Draw of the account of `[account]`: of the jobs that arrive in it, whenever they run, and of the sites beside "
        "all jobs while it lasts; blank without one",
        True,
    ),
    _number("pv_available_kwh", "kWh", "AC energy that the PV arrays could give"),
    _number("pv_used_kwh", "kWh", "PV energy to the load and to batteries"),
    _number("curtailed_kwh", "kWh", "PV energy that found no use"),
    _number("export_kwh", "kWh", "PV energy fed into the grid"),
    _number("unserved_kwh", "kWh", "Load that nothing could serve (outage, import limit)"),
    _number("it_kwh", "kWh", "Energy of the nodes: busy, idle, waking and asleep"),
    _number("site_kwh", "kWh", "Whole load of the sites: IT, cooling, fixed and other load, unserved included"),
    _number("other_kwh", "kWh", "Load of a site that is not its data centre (offices, services)"),
    _number("stored_start_kwh", "kWh", "Energy in all batteries at the start of the accounting window"),
    _number("stored_end_kwh", "kWh", "Energy in all batteries at the end of the accounting window"),
    _number("battery_cycles", "1", "Energy taken out of the batteries over their usable capacity", True),
    _number("battery_fade", "1", "Share of the batteries' capacity that was lost to ageing", True),
    _number("peak_import_kw", "kW", "Largest 15-minute mean of the import of all sites together"),
    _number("import_ramp_1min_kw", "kW", "Largest change between 1-minute means of the import, one after another"),
    _number(
        "import_ramp_15min_kw",
        "kW",
        "Largest change between 15-minute means of the import, one after another",
    ),
    _number("pue", "1", "(site_kwh - other_kwh) / it_kwh", True),
    _number("renewable_fraction", "1", "(PV to load + discharged energy that came from PV) / site_kwh", True),
    _number("self_consumption", "1", "(PV to load + PV to battery) / pv_available_kwh", True),
    _number("sun_to_load", "1", "pv_available_kwh / site_kwh: how much sun there was for the load", True),
)

COMPARISON_METRICS: tuple[Column, ...] = (
    _number(
        "grid_cut",
        "1",
        "1 - draw / draw of the baseline of the same scenario and seed; blank where either run left work undone",
        True,
    ),
    _number(
        "grid_cut_per_work",
        "1",
        "1 - draw per GPU-hour of work done / that of the baseline: beside `grid_cut` where jobs are refused, since "
        "work that is not done draws nothing",
        True,
    ),
    _number(
        "account_cut",
        "1",
        "1 - account_draw / account_draw of the baseline; blank where `grid_cut` is, and without an account",
        True,
    ),
    _number("emissions_cut", "1", "1 - emissions / emissions of the baseline; blank where `grid_cut` is", True),
    _number(
        "cost_cut", "1", "1 - cost / cost of the baseline; blank where `grid_cut` is, and where that earns money", True
    ),
    _number("bound_draw_kwh", "kWh", "Lower bound on the draw of any schedule of these jobs, knowing all", True),
    _number(
        "best_known_draw_kwh",
        "kWh",
        "Least draw known to be possible: of a schedule planned knowing all and then simulated, or of a run of these "
        "jobs that draws less and misses no deadline; blank without `best_known`",
        True,
    ),
    _number(
        "bound_emissions_kg",
        "kg",
        'Lower bound on the emissions of any schedule of these jobs, where `objective = "emissions"`',
        True,
    ),
    _number(
        "best_known_emissions_kg",
        "kg",
        "Least emissions known to be possible: of the schedule that is best known for its draw, or of a run, likewise; "
        "no schedule is looked for by emissions",
        True,
    ),
    _number(
        "bound_cost_mad",
        "MAD",
        'Lower bound on the cost of any schedule of these jobs, where `objective = "cost"`: import at its price less '
        "what export earns; the demand charge, never negative, is left out of it",
        True,
    ),
    _number("best_known_cost_mad", "MAD", "Least cost known to be possible, as with emissions", True),
    _number(
        "captured",
        "1",
        "(baseline - run) / (baseline - bound) of the experiment's `objective`, by default the draw; never clipped; "
        "blank where the denominator is under 1 % of the baseline, or where either left work undone or refused jobs",
        True,
    ),
    _number(
        "draw_against_base_kwh",
        "kWh",
        "Draw less that of the baseline scenario under the same policy and seed; blank without `baseline_scenario`, "
        "and where either run left work undone",
        True,
    ),
    _number("cost_against_base_mad", "MAD", "The same of the cost", True),
    _number("emissions_against_base_kg", "kg", "The same of the emissions", True),
    _number("draw_against_base_kwh_per_year", "kWh/yr", "draw_against_base_kwh x 8766 h / window_h", True),
    _number("cost_against_base_mad_per_year", "MAD/yr", "cost_against_base_mad x 8766 h / window_h", True),
    _number("emissions_against_base_kg_per_year", "kg/yr", "emissions_against_base_kg x 8766 h / window_h", True),
)

MONEY_METRICS: tuple[Column, ...] = (
    _number("emissions_kg", "kg", "CO2-equivalent of the imported energy; location-based, no credit for export"),
    _number("cost_mad", "MAD", "Energy charge + demand charge - income from export"),
    _number("energy_charge_mad", "MAD", "Imported energy at its price"),
    _number("demand_charge_mad", "MAD", "Charge on the largest 15-minute mean of each site and local month"),
    _number("export_income_mad", "MAD", "Income from fed-in energy"),
    _number(
        "battery_wear_mad",
        "MAD",
        "Replacement cost of the batteries times the share of their life that was used",
    ),
)

JOB_METRICS: tuple[Column, ...] = (
    _count("jobs_submitted", "Jobs submitted; each ends in exactly one of the six states below", "jobs"),
    _count("jobs_done", "Jobs that finished their work", "jobs"),
    _count("jobs_failed", "Jobs that failed of themselves or were killed at their limit", "jobs"),
    _count("jobs_cancelled", "Jobs that their user cancelled", "jobs"),
    _count("jobs_rejected", "Jobs refused at submission because no allowed site can hold them", "jobs"),
    _count("jobs_refused", "Jobs that the policy turned away", "jobs"),
    _count("jobs_left", "Jobs not ended when the accounting window ended", "jobs"),
    _number(
        "work_left_gpu_hours",
        "GPU-h",
        "Work of the reference GPU that was still to do at the window's end, that of jobs rejected or refused apart",
    ),
    _number("work_refused_gpu_hours", "GPU-h", "Work of the reference GPU of jobs rejected or refused"),
    _number("work_done_gpu_hours", "GPU-h", "Work of the reference GPU that was done"),
    _number("wait_mean_h", "h", "Mean time from submission to first start, over jobs that started", True),
    _number("wait_p95_h", "h", "95th percentile of the time from submission to first start", True),
    _number("jct_mean_h", "h", "Mean time from submission to end, over jobs done, failed or cancelled", True),
    _number("jct_p95_h", "h", "95th percentile of the time from submission to end", True),
    _number(
        "bounded_slowdown_mean",
        "1",
        "Mean of max(1, time from submission to end / max(ideal runtime, 10 s))",
        True,
    ),
    _number("makespan_h", "h", "From the first submission to the last end", True),
    _number("gpu_hours", "GPU-h", "GPU-time held by jobs, waking, restarts and checkpoints included"),
    _number("gpu_hours_lost", "GPU-h", "GPU-time whose work was lost to kills"),
    _number("energy_lost_kwh", "kWh", "Site energy attributed to work that was lost to kills"),
    _number("capped_h", "h", "Hours in which jobs ran under power caps, sum over the sites"),
    _number("capped_gpu_hours", "GPU-h", "Work that power caps delayed"),
    _count("pauses", "Times a running job was paused on purpose"),
    _count("moves", "Times a job was moved to another site"),
    _count("kills", "Times a job was killed by an outage, a shortage or a node failure"),
    _count("resizes", "Times a job changed its number of GPUs"),
    _number("deadline_miss_rate", "1", "Share of jobs with a deadline that did not end by it", True),
    _number("utilisation", "1", "Busy GPU-time / online GPU-time, up to the last arrival", True),
    _number(
        "fairness_jain",
        "1",
        "Jain's index over the tenants' regions of mean (ideal runtime / time from submission to end)",
        True,
    ),
)

NETWORK_AND_CHECKS: tuple[Column, ...] = (
    _number("network_kwh", "kWh", "Energy of what travelled between sites; beside the sites' books, not in them"),
    _number("network_gb", "GB", "Data sets and checkpoints that travelled between sites"),
    _number("balance_residual_kwh", "kWh", "Largest gap that the ledger's own checks found"),
    _number("window_h", "h", "Length of the accounting window, the same under every policy"),
)

GRID_METRICS: tuple[Column, ...] = (
    _count("grid_events", "Requests of the grid to draw less, over all sites"),
    _number("grid_events_met", "1", "Share of them that were met: no minute above the request after its ramp", True),
    _number("grid_shed_kwh", "kWh", "Import below the baselines while requests held", True),
    _number("grid_shortfall_kwh", "kWh", "Import above the requests while they held", True),
    _number("grid_income_mad", "MAD", "Paid for what was shed, less penalties for what was not", True),
    _count("floors_broken", "Jobs whose throughput during a request was below what they had been promised"),
)

RAMP_METRICS: tuple[Column, ...] = (
    _count("ramp_breach_min", "Minutes whose mean import moved faster than a ramp limit, over all sites", "min"),
    _number("ramp_breach_kwh", "kWh", "By how much they did, over their length", True),
    _number("ramp_breach_most_kw", "kW", "The largest of these", True),
)

METRICS: tuple[Column, ...] = (
    *ENERGY_METRICS,
    *COMPARISON_METRICS,
    *MONEY_METRICS,
    *JOB_METRICS,
    *GRID_METRICS,
    *RAMP_METRICS,
    *NETWORK_AND_CHECKS,
)
"""Every metric of `summary.csv` and `summary.json`, in the order in which they are written."""

SUMMARY: tuple[Column, ...] = KEYS + METRICS

ATTRIBUTED: tuple[Column, ...] = (
    _number("energy_kwh", "kWh", "Share of the data centre's load: pv + battery + grid + unserved"),
    _number("pv_kwh", "kWh", "Share of the PV energy that went straight to the load"),
    _number("battery_kwh", "kWh", "Share of the discharged energy"),
    _number("battery_pv_kwh", "kWh", "Of battery_kwh, the part that came from PV"),
    _number("grid_kwh", "kWh", "Share of the import that went straight to the load"),
    _number("unserved_kwh", "kWh", "Share of the load that nothing could serve"),
    _number("emissions_kg", "kg", "CO2-equivalent of grid_kwh, and of what the battery carried from the grid"),
    _number(
        "cost_mad",
        "MAD",
        "Energy cost of grid_kwh, and of what the battery carried; no demand charge, no export",
    ),
)
"""What is attributed to jobs, and to the site where no job is the cause."""

JOBS: tuple[Column, ...] = (
    _text("job", "Id of the job"),
    _text("job_class", "Class of the job in its workload"),
    _text("region", "Region of the tenant"),
    _text("function", "Function of the tenant's institute"),
    _text("programme", "Programme of the tenant"),
    _text("home", "Site of the tenant's own institute"),
    _text("dataset", "Data set that the job reads"),
    _number("dataset_gb", "GB", "Size of the data set"),
    _text("residency", "How far its data may travel: `regional`, `national` or `open`"),
    _count("gpus", "GPUs asked for, as a whole gang", "GPU"),
    _number("estimate_h", "h", "The user's estimate of the runtime, on the asked GPUs of the reference type"),
    _number("slack_h", "h", "How long the start may be put off; infinite where there is no deadline"),
    _count("priority", "Priority of the job"),
    Column("interruptible", "", "bool", "Whether the job may be paused"),
    _text("elasticity", "`rigid`, `moldable` or `malleable`"),
    _number("runtime_h", "h", "True runtime at the asked size on the reference GPU, up to the job's own end"),
    _text("state", "`done`, `failed`, `cancelled`, `rejected`, `refused` or `left`"),
    _text("site", "Site that it ran on last; empty where it never ran"),
    _number("submit_h", "h", "Submission, in hours from the experiment's start"),
    _number("start_h", "h", "First start, in hours from the experiment's start", True),
    _number("end_h", "h", "End, in hours from the experiment's start", True),
    Column("submit_utc", "UTC", "timestamp", "Submission"),
    Column("start_utc", "UTC", "timestamp", "First start", True),
    Column("end_utc", "UTC", "timestamp", "End", True),
    _number("wait_h", "h", "From submission to first start", True),
    _number("jct_h", "h", "From submission to end", True),
    _number("bounded_slowdown", "1", "max(1, jct / max(ideal runtime, 10 s))", True),
    _number("deadline_h", "h", "Deadline, in hours from the experiment's start; infinite where there is none"),
    Column("deadline_missed", "", "bool", "Whether it has a deadline and did not end by it"),
    _number("gpu_hours", "GPU-h", "GPU-time that it held, waking, restarts and checkpoints included"),
    _number("gpu_hours_lost", "GPU-h", "GPU-time whose work was lost to kills"),
    _number("work_left_gpu_hours", "GPU-h", "Work of the reference GPU still to do at the window's end"),
    _count("pauses", "Times it was paused on purpose"),
    _count("moves", "Times it was moved"),
    _count("kills", "Times it was killed by an outage, a shortage or a node failure"),
    _count("resizes", "Times it changed its number of GPUs"),
    _number("it_kwh", "kWh", "IT energy of its GPUs, with their part of node idle"),
    *ATTRIBUTED,
    _number("energy_lost_kwh", "kWh", "Of energy_kwh, the part spent on work that was lost to kills"),
)

ENERGY: tuple[Column, ...] = (
    _text("site", "Name of the site"),
    _number("time_h", "h", "Start of the output step, in hours from the experiment's start"),
    Column("time_utc", "UTC", "timestamp", "Start of the output step"),
    _number("step_h", "h", "Length of the output step"),
    _number("pv_available_kwh", "kWh", "AC energy that the PV array could give"),
    _number("pv_to_load_kwh", "kWh", "PV straight to the load"),
    _number("pv_to_battery_kwh", "kWh", "PV into the battery"),
    _number("export_kwh", "kWh", "PV fed into the grid"),
    _number("curtailed_kwh", "kWh", "PV that found no use"),
    _number("discharge_kwh", "kWh", "Battery to the load, at the AC bus"),
    _number("discharge_pv_kwh", "kWh", "Of discharge_kwh, the part that came from PV"),
    _number("import_to_load_kwh", "kWh", "Grid to the load"),
    _number("import_to_battery_kwh", "kWh", "Grid into the battery"),
    _number("grid_import_kwh", "kWh", "import_to_load + import_to_battery"),
    _number("unserved_kwh", "kWh", "Load that nothing could serve"),
    _number("it_kwh", "kWh", "Energy of the nodes"),
    _number("jobs_it_kwh", "kWh", "Of it_kwh, the part that jobs caused"),
    _number("other_kwh", "kWh", "Load that is not the data centre's"),
    _number("site_kwh", "kWh", "Whole load, unserved included"),
    _number("stored_kwh", "kWh", "Energy in the battery at the end of the step"),
    _number("overhead", "1", "Mean power of cooling and conversion per watt of IT load"),
    _number("temp_air_c", "°C", "Mean outdoor temperature", True),
    _number("price_mad_per_kwh", "MAD/kWh", "Mean price of imported energy"),
    _number("carbon_g_per_kwh", "g/kWh", "Mean carbon intensity of the grid"),
    _number("cost_mad", "MAD", "Energy charge - income from export; the demand charge is in the summary"),
    _number("emissions_kg", "kg", "CO2-equivalent of the import"),
    _number("busy_gpus", "GPU", "Mean number of GPUs held by jobs"),
    _number("online_gpus", "GPU", "GPUs of the site once it is online, else 0"),
    *(
        Column(f"rest_{c.name}", c.unit, c.dtype, f"The site's own part, that no job caused. {c.description}")
        for c in ATTRIBUTED
    ),
    _number("pool_emissions_kg", "kg", "CO2-equivalent that the battery carries at the end of the step"),
    _number("pool_cost_mad", "MAD", "Energy cost that the battery carries at the end of the step"),
)

EVENTS: tuple[Column, ...] = (
    _number("time_h", "h", "When it happened, in hours from the experiment's start"),
    Column("time_utc", "UTC", "timestamp", "When it happened"),
    _text(
        "kind",
        "`submit`, `reject`, `refuse`, `hold`, `start`, `pause`, `move`, `resize`, `kill`, `end`, "
        "`outage`, `repair`, `offload`, `cap`, `notice`, `request` or `request_over`",
    ),
    _text("job", "Id of the job; empty for none"),
    _text("site", "Name of the site; empty for none"),
    _text("reason", "Why, in the policy's or the engine's words"),
    _text("detail", "The numbers that it rested on, as a JSON object"),
)

GRID_EVENTS: tuple[Column, ...] = (
    _text("site", "Name of the site, or of the request where several sites share it"),
    _count("event", "Number of the request at its site, or at the first of those that share it"),
    _text("members", "Sites that share the request, `;` between; empty where a site was asked alone"),
    _number("notice_h", "h", "When it was announced, in hours from the experiment's start"),
    _number("start_h", "h", "When the draw was to begin to fall"),
    _number("end_h", "h", "Until when it held"),
    Column("start_utc", "UTC", "timestamp", "When the draw was to begin to fall"),
    _number("baseline_kw", "kW", "Load net of the sun that the request refers to"),
    _number("target_kw", "kW", "Import that was not to be exceeded after the ramp"),
    _number("asked_kwh", "kWh", "Baseline less target, from the end of the ramp to the end"),
    _number("delivered_kwh", "kWh", "Baseline less import, minute by minute where it was less"),
    _number("shortfall_kwh", "kWh", "Import above the target"),
    Column("met", "", "bool", "Whether no minute after the ramp was above the request"),
    _count("minutes_above", "Minutes above the request"),
    _number("held_h", "h", "From the end of the ramp to the first minute above the request, or to the end"),
    _number("tracking_error_kw", "kW", "Root mean square of import less target, over minutes"),
    _number("reached_min", "min", "From its start to the first minute at or below the target", True),
    _number("overshoot_kw", "kW", "By how much a minute of the two hours after the recovery exceeded the baseline"),
    _number("rebound_kwh", "kWh", "Import above the baseline in the two hours after the recovery"),
    _number(
        "income_mad", "MAD", "Paid for what was delivered, up to what was asked, less the penalty for the shortfall"
    ),
    _number("throughput_firm", "1", "Mean throughput of firm jobs that ran when it began, by GPUs", True),
    _number("throughput_90", "1", "The same of jobs with a floor of 0.9", True),
    _number("throughput_75", "1", "The same of jobs with a floor of 0.75", True),
    _number("throughput_50", "1", "The same of jobs with a floor of 0.5", True),
    _number("throughput_pausable", "1", "The same of jobs that may be paused", True),
    _count("floors_broken", "Jobs that did less than their floor"),
    _number("gpu_hours_delayed", "GPU-h", "Work that those jobs would have done at full speed, less what they did"),
    _number(
        "gpu_hours_saving",
        "GPU-h",
        "Powered time on the checkpoints of those that were paused or moved, and on restarts",
    ),
    _number(
        "cost_gpu_hours_per_kwh", "GPU-h/kWh", "What a kWh delivered cost: work delayed, checkpoints and restarts", True
    ),
    _count("late_jobs", "Jobs that gave way and ended after their deadline, whatever the cause"),
    _number("late_h", "h", "By how much, all of them together"),
)

METER: tuple[Column, ...] = (
    _number("time_h", "h", "Start of the output step, in hours from the experiment's start"),
    Column("time_utc", "UTC", "timestamp", "Start of the output step"),
    _text("site", "Name of the site"),
    _text("of", "What its meter measures: `import`, `net` (import less export), `site` (all that it draws) or `it`"),
    _number("measured_h", "h", "Time of the step that was measured"),
    _number("measured_kwh", "kWh", "Energy by the meter, in that time"),
    _number("modelled_kwh", "kWh", "The same by the model, in that time"),
    _number("difference_kwh", "kWh", "Modelled less measured"),
)

LIMITS: tuple[Column, ...] = (
    _text("site", "Name of the site"),
    _number("time_h", "h", "From when on it holds, in hours from the experiment's start"),
    Column("time_utc", "UTC", "timestamp", "From when on it holds"),
    _number("import_limit_kw", "kW", "What may be imported", True),
    _count("nodes_online", "Nodes in service, as planned"),
)

TABLES: Mapping[str, tuple[Column, ...]] = {
    "summary": SUMMARY,
    "jobs": JOBS,
    "energy": ENERGY,
    "events": EVENTS,
    "grid_events": GRID_EVENTS,
    "meter": METER,
    "limits": LIMITS,
}

_TITLES = {
    "summary": (
        "summary.csv",
        "One row per run. After `seed` comes one column for each axis of the experiment's matrix. "
        "`runs/ID/summary.json` holds the same for one run. Sums and extremes are over all sites, and over "
        "the accounting window, which is the same under every policy.",
    ),
    "jobs": ("runs/ID/jobs.parquet", "One row per job, by submission, then by id."),
    "energy": (
        "runs/ID/energy.parquet",
        "The ledger: one row per site and output step; energies are exact integrals over the step. For each "
        "attributed quantity, the jobs' column in `jobs.parquet` + `rest_` here + the change of what the "
        "battery carries = the total.",
    ),
    "events": (
        "runs/ID/events.parquet",
        "Starts, pauses, moves, ends, outages, with their reasons, in order.",
    ),
    "grid_events": (
        "runs/ID/grid_events.parquet",
        "One row per request of the grid and site; the file is there only where the grid asked for something.",
    ),
    "meter": (
        "runs/ID/meter.parquet",
        "The model's power against a meter's: one row per site with a `meter` and output step in which it measured; "
        "the file is there only where a site has one.",
    ),
    "limits": (
        "runs/ID/limits.parquet",
        "What a site may import and how many of its nodes are in service: one row at the start and at each change; the "
        "file is there only where an import is limited or nodes are withdrawn.",
    ),
}


def names(table: str) -> list[str]:
    """The column names of a table, in order."""
    return [column.name for column in TABLES[table]]


def column(table: str, name: str) -> Column:
    """One column of a table.

    Raises
    ------
    KeyError
        If the table has no such column.
    """
    for candidate in TABLES[table]:
        if candidate.name == name:
            return candidate
    raise KeyError(f"{table} has no column {name!r}")


def arrow_schema(table: str, metadata: Mapping[str, str] | None = None) -> Any:
    """The table's `pyarrow.Schema`, with unit and description in each field's metadata.

    `metadata` goes into the schema itself (start, time zone, run, ...).
    """
    import pyarrow as pa

    types = {
        "float64": pa.float64(),
        "int64": pa.int64(),
        "bool": pa.bool_(),
        "string": pa.string(),
        "timestamp": pa.timestamp("ms", tz="UTC"),
    }
    fields = [
        pa.field(
            c.name,
            types[c.dtype],
            nullable=c.nullable,
            metadata={"unit": c.unit, "description": c.description},
        )
        for c in TABLES[table]
    ]
    return pa.schema(fields, metadata=dict(metadata) if metadata else None)


def dictionary_page() -> str:
    """The dictionary as a Markdown page."""
    lines = [
        "# Data dictionary",
        "",
        "Generated by `python -m tafukt.experiments.results.dictionary`; do not edit.",
        "",
        "Each Parquet field carries its unit and description in its metadata. A ratio has the unit 1. Hours "
        "count from the experiment's start. A column marked *blank* has no value where it has no meaning.",
        "",
    ]
    for table, columns in TABLES.items():
        title, text = _TITLES[table]
        lines += [f"## `{title}`", "", text, "", "| column | unit | type | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{c.name}` | {c.unit} | {c.dtype}{', *blank*' if c.nullable else ''} | {c.description} |"
            for c in columns
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(dictionary_page(), end="")
