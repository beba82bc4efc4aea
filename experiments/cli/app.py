"""The command `tafukt`: what may be asked. What is done stands in the modules beside this one.

Everything heavy is imported inside the commands, so that `--help` is there at once.
"""

from __future__ import annotations

import copy
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from tafukt.experiments.cli import complete
from tafukt.experiments.cli.stop import INTERRUPTED, Stopped, Terminated

app = typer.Typer(
    name="tafukt",
    help="Simulates AI training jobs on solar-powered data centres, and measures how much less grid electricity "
    "a better schedule draws.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)

ExperimentArgument = Annotated[
    str,
    typer.Argument(
        help="An experiment file, or the name of a bundled experiment.", autocompletion=complete.experiment_names
    ),
]
ResultFolder = Annotated[Path, typer.Argument(help="A result folder.", metavar="DIR")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the experiment; may be repeated."),
]
COLLECT = (100_000, 20, 100)
"""How often the collector of rubbish looks for some: `gc.set_threshold`."""
Workers = Annotated[int, typer.Option(min=0, max=1024, help="Local processes; 0: one per processor.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tafukt {version('tafukt')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that belong to no command."""


NO_MEMORY = (
    "There is not enough memory for this. Completed runs are kept. Use fewer --workers, sites or days, or a longer "
    "step_min."
)
OUT_OF_MEMORY = ("cannot allocate memory", "failed to map segment", "unable to allocate", "can't start new thread")


@app.command()
def run(
    experiment: ExperimentArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Result folder; default: results/NAME.")
    ] = None,
    settings: Settings = None,
    workers: Workers = 0,
    cluster: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address of a running Dask scheduler, such as tcp://host:8786.")
    ] = "",
    index: Annotated[int | None, typer.Option(help="Do only this run of the matrix, counting from 0.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no table.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check the hashes of all existing files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, without running it.")] = False,
) -> None:
    """Run what is missing of an experiment, and show how its policies compare."""
    from tafukt.experiments.cli.run import dry_run_command, run_command

    if dry_run:
        _leave(dry_run_command(experiment, output, settings or [], index, verify))
        return
    _leave(run_command(experiment, output, settings or [], workers, cluster, index, quiet, verify))


@app.command()
def validate(experiment: ExperimentArgument, settings: Settings = None) -> None:
    """List everything that is wrong with an experiment, or show what it would run. Simulates nothing."""
    from tafukt.experiments.cli.run import validate_command

    _leave(validate_command(experiment, settings or []))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("experiment.toml"),
    trace: Annotated[
        Path | None, typer.Option(metavar="LOG", help="For this job log; its format is recognised by its columns.")
    ] = None,
    weather: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With this weather file: EPW, PVGIS or CSV.")
    ] = None,
    at: Annotated[str, typer.Option(metavar="LAT,LON", help="At this place, for example 45.07,7.69.")] = "",
) -> None:
    """Write a commented experiment to start from, for your own log, weather and place if you give them."""
    from tafukt.experiments.cli.first import init_command

    _leave(init_command(file, trace, weather, at))


@app.command()
def replay(
    folder: ResultFolder,
    workers: Workers = 0,
) -> None:
    """Repeat the experiment of a result folder, and say whether the results agree."""
    from tafukt.experiments.cli.run import replay_command

    _leave(replay_command(folder, workers))


@app.command()
def pack(folder: ResultFolder) -> None:
    """Copy every input file of a result folder into it, so that it can be moved and replayed elsewhere."""
    from tafukt.experiments.cli.run import pack_command

    _leave(pack_command(folder))


@app.command()
def selftest(
    experiment: Annotated[str, typer.Argument(help="An experiment; default: the bundled Morocco week.")] = "",
) -> None:
    """Check conservation, determinism and fault handling on an experiment of your own."""
    from tafukt.experiments.cli.run import selftest_command

    _leave(selftest_command(experiment))


@app.command()
def size(
    experiment: ExperimentArgument,
    target: Annotated[str, typer.Option(metavar="METRIC=VALUE", help="For example renewable_fraction=0.8.")],
    settings: Settings = None,
    policy: Annotated[str, typer.Option(help="Policy to run; default: the experiment's last.")] = "",
    pv_price: Annotated[
        float | None,
        typer.Option("--pv-mad-per-kwp", min=0.0, help="Price of PV; default: a published one, named in the answer."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Default: results/NAME-size.")
    ] = None,
    workers: Workers = 0,
) -> None:
    """Find the cheapest PV and battery sizes with which an experiment meets a target.

    All sites are scaled alike: every PV array by one factor, and every battery and its power by another.
    """
    from tafukt.experiments.cli.run import size_command

    _leave(size_command(experiment, target, settings or [], policy, pv_price, output, workers))


@app.command()
def flexibility(
    experiment: ExperimentArgument,
    settings: Settings = None,
    policy: Annotated[str, typer.Option(help="Policy to run; default: the experiment's last.")] = "",
    cut: Annotated[
        list[float] | None,
        typer.Option(help="Share by which to cut the draw; may be repeated. Default: 0.1, 0.25, 0.5."),
    ] = None,
    longest: Annotated[float, typer.Option(metavar="HOURS", help="Length of a probe [h].")] = 8.0,
    every: Annotated[int, typer.Option(metavar="HOURS", help="Hours between the times of day that are probed.")] = 3,
    notice: Annotated[float, typer.Option(metavar="MIN", min=0.0, help="Notice given before a request [min].")] = 15.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Default: results/NAME-flexibility.")
    ] = None,
    workers: Workers = 0,
    form: Annotated[str, typer.Option("--format", help="text, csv or json.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Probe how much less each site can draw, how fast, for how long and how often, by hour of the day.

    The experiment is run with probing requests in place of its own; several seeds give intervals.
    """
    from tafukt.experiments.cli.flexibility import flexibility_command

    form = "json" if as_json else form
    _leave(
        flexibility_command(
            experiment, settings or [], policy, cut or [], longest, every, notice, output, workers, form
        )
    )


Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="AXIS=VALUE", help="Only scenarios with this value; may be repeated."),
]
Policy = Annotated[str, typer.Option(help="Under this policy; default: the one with the lowest draw.")]
SeedOption = Annotated[int | None, typer.Option(help="For this seed; default: the first.")]


@app.command()
def explain(
    folder: ResultFolder,
    job: Annotated[
        str, typer.Argument(help="Id of a job, as in jobs.parquet; without one, jobs worth asking about are listed.")
    ] = "",
    policy: Policy = "",
    seed: SeedOption = None,
    where: Where = None,
) -> None:
    """Explain why a job ran where and when it did; without a job, list the longest waits, late and moved jobs."""
    from tafukt.experiments.cli.show import explain_command

    _leave(explain_command(folder, job, policy, seed, where or []))


@app.command()
def ls(
    folder: Annotated[Path, typer.Argument(help="Folder to search, two levels deep.")] = Path("results"),
) -> None:
    """List result folders with their date, state and answer."""
    from tafukt.experiments.cli.compare import ls_command

    _leave(ls_command(folder))


@app.command()
def export(
    folder: ResultFolder,
    table: Annotated[
        str, typer.Argument(help="summary, jobs, energy or events; also grid_events, limits or meter, if any.")
    ] = "summary",
    policy: Annotated[str, typer.Option(help="For this policy.")] = "",
    seed: SeedOption = None,
    where: Where = None,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
    local: Annotated[
        bool, typer.Option("--local", help="Give times in the zone of each row's site instead of UTC.")
    ] = False,
) -> None:
    """Write a table of a result folder to stdout, as CSV or JSON."""
    from tafukt.experiments.cli.compare import export_command

    _leave(export_command(folder, table, policy, seed, where or [], form, local))


@app.command()
def report(
    folder: ResultFolder,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: DIR/report.html.")] = None,
) -> None:
    """Write a self-contained HTML report of a result folder."""
    from tafukt.experiments.cli.show import report_command

    _leave(report_command(folder, output))


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Result folders.", metavar="DIR [DIR ...]")],
    metric: Annotated[list[str] | None, typer.Option(help="Compare this metric; may be repeated.")] = None,
    against: Annotated[str, typer.Option(metavar="POLICY", help="Policy to compare with; default: the baseline.")] = "",
    where: Where = None,
    form: Annotated[str, typer.Option("--format", help="text, markdown, latex or csv.")] = "text",
) -> None:
    """Show means over seeds and paired differences with confidence intervals."""
    from tafukt.experiments.cli.compare import compare_command

    _leave(compare_command(folders, metric or [], against, where or [], form))


@app.command()
def plot(
    folder: ResultFolder,
    figure: Annotated[list[str] | None, typer.Option(help="Draw only this figure; may be repeated.")] = None,
    kind: Annotated[str, typer.Option("--format", help="png, svg, pdf or pgf.")] = "png",
    where: Where = None,
    policy: Annotated[list[str] | None, typer.Option(help="Only this policy; may be repeated.")] = None,
    seed: SeedOption = None,
    site: Annotated[str, typer.Option(help="Only this site.")] = "",
    begin: Annotated[str, typer.Option("--from", metavar="DAY", help="Start at this day or time (local).")] = "",
    end: Annotated[str, typer.Option("--to", metavar="DAY", help="Stop at the end of this day, or at this time.")] = "",
    paper: Annotated[int, typer.Option(min=0, max=2, help="Size in columns of a paper; 0: for the screen.")] = 0,
    fonts: Annotated[str, typer.Option(help="sans, serif (Times) or latex (Computer Modern).")] = "sans",
) -> None:
    """Draw the figures of a result folder into DIR/figures."""
    from tafukt.experiments.cli.show import plot_command

    chosen = {"where": where or [], "policies": policy or [], "seed": seed, "site": site, "begin": begin, "end": end}
    _leave(plot_command(folder, figure or [], kind, chosen, paper, fonts))


@app.command()
def sites(
    name: Annotated[
        str, typer.Argument(help="Site to show, with its sources.", autocompletion=complete.site_names)
    ] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the site's year into NAME.png.")] = False,
) -> None:
    """List the sites of the catalogue, or show one."""
    from tafukt.experiments.cli.show import sites_command

    _leave(sites_command(name, plot))


@app.command()
def workloads(
    name: Annotated[
        str,
        typer.Argument(help="Name of a mix, or a file.", metavar="[NAME|FILE]", autocompletion=complete.workload_names),
    ] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw a page of figures into NAME.png.")] = False,
    fit: Annotated[bool, typer.Option("--fit", help="Fit a mix to a trace, and write it.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Of --fit; default: NAME_mix.toml.")
    ] = None,
) -> None:
    """List the workloads, describe a mix or a trace, or fit a mix to a trace."""
    if fit:
        from tafukt.experiments.cli.traces import fit_command

        _leave(fit_command(name, output))
        return
    from tafukt.experiments.cli.show import workloads_command

    _leave(workloads_command(name, plot))


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A public trace; without one, all are listed.",
            metavar="[NAME]",
            autocompletion=complete.public_trace_names,
        ),
    ] = "",
    mirror: Annotated[
        str, typer.Option("--from", metavar="URL", help="Download from a mirror; the hash is checked.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Even if it is here already.")] = False,
) -> None:
    """Download a public trace from its publisher into the cache."""
    from tafukt.experiments.cli.traces import fetch_command

    _leave(fetch_command(name, mirror, again))


@app.command(name="import")
def import_log(
    kind: Annotated[str, typer.Argument(help="Program that wrote the log: sacct.", metavar="sacct")],
    file: Annotated[Path, typer.Argument(help="Output of `sacct -a -P --format=...`.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Experiment to write; default: NAME.toml.")
    ] = None,
    like: Annotated[str, typer.Option(help="Catalogue site at which to place the cluster.")] = "rabat",
    tz: Annotated[str, typer.Option(help="Time zone of the cluster, for example Europe/Rome.")] = "",
) -> None:
    """Write an experiment from a log: the cluster inferred from what ran on it, the load and the dates."""
    from tafukt.experiments.cli.traces import import_command

    _leave(import_command(kind, file, output, like, tz))


@app.command("policies")
def list_policies(
    name: Annotated[
        str, typer.Argument(help="Policy, or part of one, to explain.", autocompletion=complete.policy_names)
    ] = "",
    check: Annotated[
        str,
        typer.Option("--check", metavar="POLICY", help="Run a policy through small scenarios and report violations."),
    ] = "",
) -> None:
    """List the policies and their parts, explain one, or check one, as in `--check my_policy.py:name`."""
    from tafukt.experiments.cli.show import check_command, policies_command

    _leave(check_command(check) if check else policies_command(name))


@app.command()
def schema(
    key: Annotated[str, typer.Argument(help="Table or key to explain as text, for example workload.trace.")] = "",
) -> None:
    """Print the JSON Schema of experiment files, for editors, or explain the keys of one table."""
    from tafukt.experiments.cli.show import schema_command

    _leave(schema_command(key))


def _leave(code: int) -> None:
    if code:
        raise typer.Exit(code)


def main() -> None:
    """Entry point: mistakes of the user's become a message and exit code 2, never a traceback."""
    # What a command imports, and most of what it makes, stays until it ends. As it comes, the collector looks for
    # rubbish among it after every 700 objects, and once more at the end: a quarter of the time of a short command.
    gc.set_threshold(*COLLECT)
    # No plugin of pydantic's has a say in what a file means; looking for one reads what every installed package offers,
    # 3 % of the time of a short command.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    signal.signal(signal.SIGTERM, _terminate)
    code = guarded(lambda: narrowed(sys.argv[1:])(standalone_mode=False))
    gc.freeze()
    sys.exit(code)


def narrowed(arguments: list[str]) -> typer.Typer:
    """The app with no more than a command line asks for: its one command, or for a list of them what it shows of each.

    Typer reads the signature of each command that it is given, a sixth of the time of `--help`. What else there may be
    on the line, a completion or a command that is not known, gets the whole app.
    """
    named = {info.name or info.callback.__name__: info for info in app.registered_commands if info.callback}
    small = copy.copy(app)
    if arguments in ([], ["--help"]) and not any(name.endswith("_COMPLETE") for name in os.environ):
        small.registered_commands = [_listed(name, info) for name, info in named.items()]
    elif arguments and arguments[0] in named:
        small.registered_commands = [named[arguments[0]]]
    return small


def _listed(name: str, info: CommandInfo) -> CommandInfo:
    """A command as a list shows it: its name, and what it does."""
    shown = copy.copy(info)
    shown.name, shown.help, shown.callback = name, info.help or getattr(info.callback, "__doc__", None), lambda: None
    return shown


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def guarded(call: Callable[[], Any]) -> int:
    """Call, and turn what it raises into an exit code and a message on stderr."""
    try:
        result = call()
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except MemoryError:
        print(NO_MEMORY, file=sys.stderr)
        return 1
    except Exception as error:
        if isinstance(error, Stopped):
            _tell(error)
            return error.code
        if _is_of_memory(error):
            print(NO_MEMORY, file=sys.stderr)
            return 1
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a mistake on the command line
            error.show()
            return 2
        if isinstance(error, _work_failed()):
            _tell(error)
            return 1
        if not _is_users(error):
            raise
        if isinstance(error, OSError):
            print(f"{error.filename or ''}: {error.strerror}".lstrip(": "), file=sys.stderr)
            return 1
        _tell(error)
        return 2
    return result if isinstance(result, int) else 0


def _tell(error: BaseException) -> None:
    """Say on stderr what went wrong, in lines that fit."""
    from tafukt.experiments.cli.lines import in_lines

    print(in_lines(str(error), sys.stderr), file=sys.stderr)


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether an error came of too little memory: libraries that cannot be loaded say so in words of their own."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _work_failed() -> type[BaseException]:
    from tafukt.experiments.runs.processes import WorkFailed

    return WorkFailed


def _is_users(error: BaseException) -> bool:
    """Whether an error is a mistake in what the user gave, or of the disk; anything else is ours."""
    from tafukt.experiments.errors import InputError
    from tafukt.sites.errors import SiteError
    from tafukt.workloads.errors import WorkloadError

    return isinstance(error, InputError | SiteError | WorkloadError | OSError)


if __name__ == "__main__":
    main()
