"""`tafukt size`: the cheapest sun and battery that meet a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.cli_text import console, plural


def size_command(
    experiment: str,
    target: str,
    settings: Sequence[str],
    policy: str,
    pv_mad_per_kwp: float | None,
    output: Path | None,
    workers: int = 1,
) -> int:
    """Find the cheapest sizes that meet a target; write every point, the front, and the sized experiment."""
    from experiments import sizing, sizing_results
    from experiments.config_load import load as load_experiment
    from experiments.config_toml import find
    from experiments.config_toml import text as toml_text
    from experiments.figures import save, size_front
    from experiments.figures_style import new_figure, style
    from experiments.work import processors

    wanted = sizing.parse_target(target)
    loaded = load_experiment(find(experiment), settings)
    with console(stderr=True).status("sizing") as status:
        found = sizing.search(
            loaded,
            wanted,
            policy,
            pv_mad_per_kwp,
            lambda done: status.update(f"sizing: {plural(done, 'size')} simulated"),
            workers or processors(),
        )
    folder = output or Path("results") / f"{loaded.experiment.name}-size"
    folder.mkdir(parents=True, exist_ok=True)
    points = sizing_results.table(found)
    points.to_csv(folder / "sizes.csv", index=False, lineterminator="\n")
    with style():
        figure, axes = new_figure(6.6, 3.9)
        size_front(points, axes, metric=wanted.metric, target=wanted.value)
        save(figure, folder / "front.png", "png")
    out = console()
    for line in sizing_results.summary_lines(found):
        out.print(line)
    if found.chosen is not None:
        document = sizing_results.sized_document(loaded, found.chosen)
        (folder / "sized.toml").write_text(toml_text(document), encoding="utf-8")
        out.print(f"Results: {folder} (sizes.csv, front.png, sized.toml)")
        out.print(f"Next:    tafukt run {folder / 'sized.toml'}")
    else:
        out.print(f"Results: {folder} (sizes.csv, front.png)")
    return 0 if found.chosen is not None else 1
