"""The commands about cohorts: where they come from, and what is wrong with them."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triher.config import is_config_file, read_config, split_assignment
from triher.printing import EXIT_SKIPPED, EXIT_STOPPED, show, size_text
from triher.progress import Reporter, duration_text
from triher.settings import CohortConfig, Config

if TYPE_CHECKING:
    from extract.adapters.importing import Summary
    from extract.cost import Cost
    from extract.problems import Problem
    from triher.cohort import Cohort

cohort_app = typer.Typer(help="Bring a cohort in, and look at it before work begins.", no_args_is_help=True)

CohortFiles = Annotated[list[Path], typer.Argument(help="Configuration, or a table with our column names.")]
CohortFile = Annotated[Path, typer.Argument(help="Configuration, or a table with our column names.")]
Scheme = Annotated[str, typer.Option(help="Label scheme, for a table: triple, binary or ultralow.")]
_SHOWN = 40


@cohort_app.command("check")
def check(
    files: CohortFiles,
    scheme: Scheme = "triple",
    out: Annotated[Path | None, typer.Option(help="Write all problems to this CSV file.")] = None,
    *,
    voxels: Annotated[bool, typer.Option(help="Read the voxels, too; takes as long as extraction does.")] = False,
    cost: Annotated[bool, typer.Option(help="Measure what the run will cost, on three patients.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the result.")] = False,
) -> int:
    """List every problem of every patient before any long work; several cohorts are compared with one another."""
    from extract.preflight import check_cohorts, few_of_a_class
    from extract.problems import Checked, write_problems
    from triher.cohort import read_cohort

    reporter = Reporter(quiet=quiet)
    configs = [(file, _config_of(file, scheme)) for file in files]
    checked = []
    for file, config in configs:
        asks_survival = is_config_file(file) or config.cohort.time_unit is not None
        cohort = read_cohort(config.cohort, survival=asks_survival)
        name = file.stem if len(files) > 1 else config.cohort.name
        checked.append(Checked(name, config.cohort, cohort, config.scheme))
    problems = check_cohorts(checked, reporter, voxels=voxels)
    _show_problems(problems, sum(len(one.cohort.patients) for one in checked))
    if out is not None:
        write_problems(out, problems)
        typer.echo(f"problems and remarks, {len(problems)} in all: {out}")
    if not voxels:
        typer.echo("looked at table, file names and headers; --voxels reads the voxels (empty masks, damaged data)")
    stopped = any(problem.outcome == "stop" for problem in problems)
    for (file, config), one in zip(configs, checked, strict=True):
        lost = {problem.patient_id for problem in problems if (problem.outcome, problem.cohort) == ("skip", one.name)}
        if few := few_of_a_class(one, lost):
            typer.echo(f"{few}; a model of others can be applied all the same")
        usable = len(one.cohort.patients) - len(lost)
        if cost and not stopped and usable and is_config_file(file):
            _show_cost(config, one.cohort)
    if stopped:
        return EXIT_STOPPED
    return EXIT_SKIPPED if any(problem.outcome == "skip" for problem in problems) else 0


@cohort_app.command("labels")
def labels(
    file: CohortFile,
    scheme: Scheme = "triple",
    out: Annotated[Path | None, typer.Option(help="Write the audit to this CSV file.")] = None,
    rules: Annotated[str, typer.Option(help="HER2 rule set instead of the configuration's.")] = "",
) -> int:
    """Show what every spelling of IHC and ISH becomes, how often, and what is left out and why."""
    from triher.cohort import read_cohort
    from triher.label_audit import audit, summary, write_audit
    from triher.label_rules import RULE_SETS

    config = _config_of(file, scheme)
    cohort = read_cohort(config.cohort, survival=False)
    chosen = rules or cohort.her2_rules
    rows = audit([patient.her2_entry() for patient in cohort.patients], config.scheme, chosen)
    columns = ("IHC", "ISH", "ratio", "copies", "staining", "class", "patients", "outcome", "reason or remark")
    cells = [
        (r.ihc, r.ish, r.ratio, r.copies, r.staining_percent, r.label, r.count, r.outcome, r.reason or r.flag)
        for r in rows
    ]
    more = f"; the first {_SHOWN} of {len(rows)} spellings" if len(rows) > _SHOWN else ""
    told = [k for k in range(len(columns)) if any(str(row[k]) for row in cells)]
    show(
        f"{len(cohort.patients)} patients under {RULE_SETS[chosen].title}{more}",
        [columns[k] for k in told],
        [[row[k] for k in told] for row in cells[:_SHOWN]],
    )
    found = summary(rows)
    typer.echo("classes: " + (", ".join(f"{name} {n}" for name, n in found.classes.items()) or "none"))
    typer.echo("left out: " + (", ".join(f"{n} x {reason}" for reason, n in found.reasons.items()) or "nobody"))
    if out is not None:
        write_audit(out, rows)
        typer.echo(f"audit: {out}")
    return 0


@cohort_app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Layout; 'triher cohort layouts' lists them.", metavar="NAME")],
    path: Annotated[Path, typer.Argument(help="Folder of the collection, or the table itself.", metavar="PATH")],
    out: Annotated[Path, typer.Option("--out", help="Cohort table; a configuration is written beside it.")],
    table: Annotated[Path | None, typer.Option(help="Clinical table, where it lies elsewhere.")] = None,
    images: Annotated[Path | None, typer.Option(help="Images, where they lie elsewhere.")] = None,
    sheet: Annotated[str, typer.Option(help="Sheet of a workbook.")] = "",
    option: Annotated[
        list[str], typer.Option("--option", metavar="KEY=VALUE", help="Option of the layout; may be repeated.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    *,
    overwrite: Annotated[bool, typer.Option(help="Replace the files of an earlier import.")] = False,
) -> int:
    """Turn a public or hospital layout into a cohort table and a configuration."""
    from extract.adapters.contract import Request
    from extract.adapters.importing import import_cohort

    options = dict(split_assignment(text, "--option") for text in option)
    summary = import_cohort(name, Request(path, table, images, sheet, options), out, overwrite=overwrite)
    _show_import(summary)
    return EXIT_SKIPPED if summary.skipped else 0


@cohort_app.command("layouts")
def layouts(
    name: Annotated[str, typer.Argument(help="One layout, with its options and license.", metavar="[NAME]")] = "",
) -> int:
    """List the layouts that can be imported, or say all about one."""
    from extract.adapters.registry import describe, outline

    typer.echo(describe(name) if name else f"{outline()}\n\noptions and license: triher cohort layouts NAME")
    return 0


@cohort_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Public collection.", metavar="NAME")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the images.")],
    patients: Annotated[str, typer.Option(help="How many, or ids separated by commas; all when empty.")] = "",
    *,
    accept_license: Annotated[bool, typer.Option(help="You have read the license that is shown.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors and the result.")] = False,
) -> int:
    """Download a public collection, after showing its license; without a network, say what to put where."""
    from extract.fetch import fetch as fetch_collection
    from extract.fetch import read_choice

    fetched = fetch_collection(
        name, out, accept_license=accept_license, patients=read_choice(patients), reporter=Reporter(quiet=quiet)
    )
    typer.echo(f"{fetched.n_patients} patients, {fetched.n_series} series in {fetched.folder}")
    typer.echo(f"next: {fetched.next_command}")
    return 0


def _config_of(file: Path, scheme: str) -> Config:
    """A configuration, or the default one around a table."""
    if is_config_file(file):
        return read_config(file)
    return Config.model_validate({"cohort": CohortConfig(table=file.resolve()), "scheme": scheme})


def _show_import(summary: "Summary") -> None:
    """How many came in, of which class and where from, and who did not."""
    left_out = ", ".join(f"{n} {code}" for code, n in summary.skipped.items()) or "nobody"
    typer.echo(f"{summary.n_in} patients found, {summary.n_out} imported, left out: {left_out}")
    for what, groups in (("split", summary.by_split), ("site", summary.by_site)):
        if groups and set(groups) != {""}:
            classes = list(next(iter(groups.values())))
            rows = [(group or "(none)", *(counts[name] for name in classes)) for group, counts in groups.items()]
            total = ("all", *(sum(counts[name] for counts in groups.values()) for name in classes))
            show(f"HER2 by {what}", (what, *classes), [*rows[:_SHOWN], total])
    typer.echo(f"without a class: {summary.unlabeled}; remarks: {summary.n_notes}")
    typer.echo("written: " + ", ".join(map(str, summary.files)))
    typer.echo(f"next: triher cohort check {summary.files[-1]}")


def _show_problems(problems: "list[Problem]", n_patients: int) -> None:
    """Problems, the worst first, counted by code when they are many."""
    order = {"stop": 0, "skip": 1, "note": 2}
    ordered = sorted(problems, key=lambda problem: order[problem.outcome])
    left_out = {(p.cohort, p.patient_id) for p in problems if p.outcome == "skip"}
    if ordered:
        rows = [(p.outcome, p.patient_id or "(cohort)", p.code, p.found, p.remedy) for p in ordered[:_SHOWN]]
        title = f"problems and remarks: {len(ordered)}" + (f", the first {_SHOWN}" if len(ordered) > _SHOWN else "")
        show(title, ("outcome", "patient", "code", "found", "what to do"), rows)
    if len(ordered) > _SHOWN:
        counts = Counter((p.outcome, p.code) for p in ordered)
        show("how often", ("outcome", "code", "times"), [(*key, n) for key, n in counts.most_common()])
    typer.echo(f"{n_patients} patients: {n_patients - len(left_out)} can be used, {len(left_out)} would be left out")


def _show_cost(config: Config, cohort: "Cohort") -> None:
    """What the run will take."""
    from extract.cost import measure_cost

    found = measure_cost(config, cohort)
    show(
        f"expected for {found.n_patients} patients, measured on {found.n_measured} of them on {found.device}",
        ("what", "expected"),
        _cost_rows(found, config),
    )


def _cost_rows(cost: "Cost", config: Config) -> list[tuple[str, str]]:
    """The estimate in units that people read."""
    batch_size = (config.finetune if cost.n_networks and config.finetune else config.extract).batch_size
    return [
        ("reading volumes and cutting slabs", _known(cost.read_s, duration_text)),
        *_training_rows(cost),
        (f"embedding with {config.extract.encoder}", _known(cost.embed_s, duration_text)),
        ("disk: slab cache", _known(cost.slab_bytes, size_text)),
        ("disk: feature store", _known(cost.store_bytes, size_text)),
        (f"memory of {cost.device}, batches of {batch_size}", _known(cost.device_bytes, size_text)),
    ]


def _training_rows(cost: "Cost") -> list[tuple[str, str]]:
    """What the training of the encoder takes, where there is one."""
    if not cost.n_networks:
        return []
    networks = "one network" if cost.n_networks == 1 else f"{cost.n_networks} networks"
    return [(f"training {networks}, if none stops early", _known(cost.train_s, duration_text))]


def _known(value: float, text: Callable[[float], str]) -> str:
    """The text of a number, or why there is none."""
    return "unknown: the weights are not on this machine" if math.isnan(value) else text(value)
