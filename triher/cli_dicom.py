"""The command that writes results as DICOM."""

from pathlib import Path
from typing import Annotated

import typer

from triher.errors import Skipped
from triher.printing import EXIT_SKIPPED, show, skip_table
from triher.progress import Reporter
from triher.runfolder import RunFolder

_SHOWN = 20


def dicom(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the DICOM files.", show_default=False)],
    *,
    patient: Annotated[list[str], typer.Option("--patient", help="Only this patient; may be repeated.")] = [],  # noqa: B006
    phase: Annotated[str, typer.Option("--phase", help="Phase whose images the maps lie on; the second one.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors and results.")] = False,
) -> int:
    """Write predictions and maps as DICOM beside the original series, marked for research use only.

    The files carry the identifiers of the original headers, names of patients among them.
    """
    from triher.dicom_results.export import LEFT_OUT, export

    reporter = Reporter(quiet=quiet)
    written, skipped = export(RunFolder(run), out, reporter, only=patient, phase=phase)
    rows = [(one.patient_id, one.folder, f"HER2-{one.predicted}", one.n_objects) for one in written[:_SHOWN]]
    show(f"{len(written)} patients in {out}", ("patient", "folder", "predicted", "objects"), rows)
    return _say_skipped(skipped, out / LEFT_OUT, reporter)


def _say_skipped(skipped: list[Skipped], path: Path, reporter: Reporter) -> int:
    """Name who was left out; the exit code."""
    if not skipped:
        return 0
    reporter.console.print(skip_table(skipped[:10], f"{len(skipped)} left out: see {path}"))
    return EXIT_SKIPPED
