"""The command ``triher ablate``: variants of a configuration, computed with nothing done twice, and compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from triher.config import build_config, read_tree
from triher.errors import StopRun, unknown_name
from triher.printing import EXIT_SKIPPED, EXIT_STOPPED
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import AblationConfig

if TYPE_CHECKING:
    from triher.ablation.axes import Lattice
    from triher.study import StudyFolder

_OUT = Path("runs/ablation")
_ENGINES = ("local", "ray")


def ablate(
    config: Annotated[Path, typer.Argument(help="Configuration, YAML.", metavar="CONFIG", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Study folder; continued if it is there.")] = _OUT,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Print what is to be done and its cost; do nothing.")] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Freeze configuration, primary comparison and data; do nothing else.")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="Who computes: local, or ray for a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=0, help="Processes of Ray that embed; 0 for all.")] = 0,
    overrides: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the base.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors and results.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 2 when a cell failed.")] = False,
) -> int:
    """Compute and compare variants of a configuration: encoders, normalizations, heads, cohorts, disturbances."""
    from analysis.ablation.measures import find_measure
    from triher.ablation.axes import read_lattice
    from triher.study import BASE, StudyFolder

    if register and plan:
        raise StopRun("config_value", "--register and --plan exclude each other: print the plan first, then register")
    tree = read_tree(config, overrides)
    own = build_config(tree, {}, config).ablation or AblationConfig()
    lattice, folder, reporter = read_lattice(tree, config), StudyFolder(RunFolder(out)), Reporter(quiet=quiet)
    find_measure(own.metric, lattice.configs[BASE].scheme)
    if register:
        from triher.ablation.registration import register as register_study

        register_study(lattice, tree, config, folder, reporter)
        return 0
    if engine not in _ENGINES:
        raise unknown_name("engine", engine, _ENGINES)
    if engine != "local":
        lattice = lattice.spread(engine, workers)
    if plan:
        return _print_plan(lattice, own, folder, reporter)
    from triher.ablation.run import run_study

    outcome = run_study(lattice, own, folder, reporter, engine=engine)
    Console().print(f"report: {folder.run.report_file}", highlight=False, soft_wrap=True)
    if outcome.n_failed:
        return EXIT_STOPPED if strict else EXIT_SKIPPED
    return EXIT_SKIPPED if outcome.n_skipped else 0


def _print_plan(lattice: "Lattice", own: AblationConfig, folder: "StudyFolder", reporter: Reporter) -> int:
    """Say what there is to do, and what it costs."""
    from triher.ablation.cost import measure_plan
    from triher.ablation.plan import make_plan
    from triher.ablation.printing import print_plan

    found = make_plan(lattice, own, folder)
    print_plan(found, measure_plan(found, folder, reporter), Console())
    return 0
