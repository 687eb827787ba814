"""The command line: one thin function a command, each importing its stage when it is called."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from triher import __version__
from triher.cli_ablate import ablate
from triher.cli_bundle import bundle_app
from triher.cli_codes import codes
from triher.cli_cohort import cohort_app
from triher.cli_dicom import dicom
from triher.cli_encoders import encoders
from triher.cli_shell import DEBUG, run_command
from triher.cli_store import store_app
from triher.cli_view import view
from triher.config import read_config
from triher.files import refuse_other_files
from triher.printing import EXIT_SKIPPED, EXIT_STOPPED, outside_in_short, plain, skip_table
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import STAGES
from triher.trained import LEARNED_FROM

app = typer.Typer(
    help="Predict HER2-zero, -low and -positive from breast DCE-MRI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done, 2 stopped (the message says why), 3 done with patients left out, 130 interrupted.",
)
_START, _STAGES, _AFTER, _LOOK_UP = (
    "Start here",
    "One stage of a run alone",
    "With a finished run",
    "Look up, and mend",
)
ConfigFile = Annotated[Path, typer.Argument(help="Configuration, YAML.", metavar="CONFIG", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Run folder; made if it is not there, continued if it is.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key: extract.encoder=dinov2-small.")
]
Engine = Annotated[str, typer.Option("--engine", help="Who extracts: local, or ray for a Ray cluster.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors and results.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 2 when any patient is left out.")]
_RUN = Path("runs/latest")


@app.command(rich_help_panel=_START)
def demo(
    out: Out = Path("runs/demo"),
    patients: Annotated[int, typer.Option(min=60, help="Patients in the synthetic cohort.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
    system: Annotated[str, typer.Option(help="A published system in small: a, b or c; docs/systems.md.")] = "",
    *,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Negative control: the AUC must fall to 0.5.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006 - typer reads the default, nobody changes it
    quiet: Quiet = False,
) -> int:
    """Run the whole chain on a synthetic cohort whose truth is known, in a few minutes."""
    from triher.demo import Demo, run_demo
    from triher.demo_table import closing_table

    reporter = Reporter(quiet=quiet)
    run = RunFolder(out)
    options = [*overrides, *(["classify.shuffle_labels=true"] if shuffle_labels else [])]
    run_demo(run, Demo(patients, seed, system), overrides=options, reporter=reporter)
    Console().print(closing_table(run))
    return _finish(run, reporter)


@app.command(rich_help_panel=_START)
def phantom(
    out: Annotated[Path, typer.Option("--out", help="Folder for the cohort.")],
    patients: Annotated[int, typer.Option(min=6, help="How many, over three sites.")] = 120,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    *,
    signal: Annotated[
        list[str], typer.Option("--signal", help="A trait that tells the classes apart, in place of all five.")
    ] = [],  # noqa: B006
    shift_site: Annotated[str, typer.Option(help="Site whose exams went wrong: too early, and noisy.")] = "",
    dicom: Annotated[bool, typer.Option("--dicom", help="Write the images as DICOM, too, as scanners do.")] = False,
    quiet: Quiet = False,
) -> int:
    """Write a synthetic DCE-MRI cohort as NIfTI: three sites, three phases, lesion masks, known truth."""
    from extract.phantom.cohort import write_phantom

    if dicom and shift_site:
        raise typer.BadParameter("--dicom writes the usual times of every site, so it goes without --shift-site")
    refuse_other_files(out, "truth.csv")
    reporter = Reporter(quiet=quiet)
    table = write_phantom(
        out, n_patients=patients, seed=seed, signal=signal, shifted_site=shift_site, reporter=reporter
    )
    typer.echo(table)
    if dicom:
        _write_dicom(out, table, seed, reporter)
    return 0


def _write_dicom(out: Path, table: Path, seed: int, reporter: Reporter) -> None:
    """The phantom's images as DICOM, in the habits of one vendor a site."""
    from extract.phantom.dicom import phantom_as_dicom
    from triher.cohort import read_cohort
    from triher.settings import CohortConfig

    patients = read_cohort(CohortConfig(table=table), survival=False).patients
    for patient in reporter.track(patients, "DICOM", len(patients)):
        phantom_as_dicom(out / "dicom", patient, seed=seed)
    masks = "../images/{patient_id}_mask.nii.gz"
    source, options = f"{out / 'dicom'} --table {table}", f"--option mask={masks} --option time-unit=months"
    typer.echo(f"triher cohort import dicom {source} {options} --out imported.csv")


def _stage_command(stages: tuple[str, ...]) -> Callable[..., int]:
    """A command that brings some of the stages up to date."""

    def command(
        config: ConfigFile,
        out: Out = _RUN,
        *,
        overrides: Overrides = [],  # noqa: B006
        quiet: Quiet = False,
        strict: Strict = False,
    ) -> int:
        from triher.pipeline import run_stages

        reporter, folder = Reporter(quiet=quiet), RunFolder(out)
        run_stages(read_config(config, overrides), folder, reporter, stages)
        return _finish(folder, reporter, strict=strict)

    return command


def _extracting_command(stages: tuple[str, ...]) -> Callable[..., int]:
    """A command whose first stage may be spread over many machines."""
    plain_command = _stage_command(stages)

    def command(
        config: ConfigFile,
        out: Out = _RUN,
        *,
        engine: Engine = "local",
        overrides: Overrides = [],  # noqa: B006
        quiet: Quiet = False,
        strict: Strict = False,
    ) -> int:
        chosen = [] if engine == "local" else [f"extract.engine={engine}"]
        return plain_command(config, out, overrides=[*overrides, *chosen], quiet=quiet, strict=strict)

    return command


for _name, _stages, _help, _change in (
    (
        "run",
        STAGES,
        "The whole chain on a cohort, from images to report; computes only what is not there or out of date.",
        "extract.encoder=dinov2-small",
    ),
    (
        "finetune",
        ("finetune",),
        "Train the encoder end to end on the development patients.",
        "finetune.folds=0",
    ),
    (
        "extract",
        ("extract",),
        "From the images cut out the lesions, and embed their slices into a feature store.",
        "extract.normalization=clip98-volume",
    ),
    (
        "classify",
        ("classify",),
        "From a feature store to predictions and a locked bundle; loads no torch.",
        "classify.head=xgboost",
    ),
    (
        "explain",
        ("explain",),
        "What the model looked at: maps, attributions, projections, and tests of them.",
        "explain.patients=0",
    ),
    ("analysis", ("analysis",), "From predictions to metrics and report; loads no torch.", "analysis.resamples=5000"),
):
    _example = f"Example: triher {_name} my.yaml --out runs/mine --set {_change}"
    _make = _extracting_command if "extract" in _stages else _stage_command
    _panel = _START if _name == "run" else _STAGES
    app.command(_name, help=_help, epilog=_example, rich_help_panel=_panel)(_make(_stages))


@app.command(rich_help_panel=_AFTER)
def apply(
    bundle: Annotated[Path, typer.Argument(help="Locked bundle, a folder or a zip.", metavar="BUNDLE")],
    cohort: Annotated[Path, typer.Argument(help="Cohort table, or a configuration.", metavar="COHORT")],
    out: Out = Path("runs/apply"),
    *,
    features: Annotated[
        Path | None, typer.Option(help="Feature store or table of the cohort, in place of its images.")
    ] = None,
    quiet: Quiet = False,
    strict: Strict = False,
) -> int:
    """Predict a new cohort with a locked bundle, and flag what lies outside its training range."""
    from triher.applying import apply_to_cohort

    reporter = Reporter(quiet=quiet)
    folder = RunFolder(out)
    predictions = apply_to_cohort(bundle, cohort, folder, reporter, features=features)
    columns = [name for name in predictions.columns if name.startswith("p_")]
    table = Table(title=f"{len(predictions)} predictions in {folder.predictions_file}", title_justify="left")
    for name in ("patient", *columns, "set", "outside the training range"):
        table.add_column(name)
    for _, row in predictions.head(20).iterrows():
        cells = (
            row["patient_id"],
            *(f"{row[name]:.3f}" for name in columns),
            row["set"],
            outside_in_short(row["outside"]),
        )
        table.add_row(*map(plain, cells))
    Console().print(table)
    if n_outside := int((predictions["outside"] != "").sum()):
        typer.echo(f"outside in what, and how far: column 'outside' of {n_outside} in {folder.predictions_file}")
    return _finish(folder, reporter, strict=strict)


@app.command(rich_help_panel=_LOOK_UP)
def doctor() -> int:
    """Say what of TriHER works on this machine, and what to install for the rest."""
    from triher.doctor import examine

    findings = examine()
    table = Table(title=f"TriHER {__version__}", title_justify="left")
    for name in ("part", "state", "what to do"):
        table.add_column(name)
    for finding in findings:
        mark = "[green]ok[/]" if finding.is_fine else "[red]missing[/]"
        table.add_row(finding.part, f"{mark} {plain(finding.state)}", plain(finding.remedy))
    Console().print(table)
    return 0 if all(finding.is_fine for finding in findings) else EXIT_STOPPED


app.command(epilog="Example: triher view runs/demo", rich_help_panel=_AFTER)(view)
app.command(epilog="Example: triher dicom runs/mine --out results", rich_help_panel=_AFTER)(dicom)
app.command(
    epilog="Example: triher ablate configs/ablation_normalization.yaml --out runs/normalization --plan",
    rich_help_panel=_AFTER,
)(ablate)
app.command(epilog="Example: triher codes mask_empty", rich_help_panel=_LOOK_UP)(codes)
app.command(rich_help_panel=_LOOK_UP)(encoders)
app.add_typer(cohort_app, name="cohort", rich_help_panel=_START)
app.add_typer(bundle_app, name="bundle", rich_help_panel=_AFTER)
app.add_typer(store_app, name="store", rich_help_panel=_LOOK_UP)


def _finish(folder: RunFolder, reporter: Reporter, *, strict: bool = False) -> int:
    """Show who was left out and where the results lie; whom this run's encoder was trained on is no loss."""
    rows = folder.read_skipped()
    if "finetune" in folder.read_record()["stages"]:
        others = [row for row in rows if row.code != LEARNED_FROM]
        if n_learned := len(rows) - len(others):
            reporter.say(f"{n_learned} patients trained the encoder and are not scored: see {folder.skipped_file}")
        rows = others
    if rows:
        reporter.console.print(skip_table(rows[:10], f"{len(rows)} left out: see {folder.skipped_file}"))
    if folder.report_file.exists():
        reporter.say(f"report: {folder.report_file}")
    if rows:
        return EXIT_STOPPED if strict else EXIT_SKIPPED
    return 0


@app.callback(invoke_without_command=True)
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of all commands."""
    if version:
        typer.echo(f"triher {__version__}")
        raise typer.Exit
    if debug:
        os.environ[DEBUG] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run_command(app, arguments))
