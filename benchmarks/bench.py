"""Runs every benchmark, and prints one table of figures beside their targets.

Usage: ``python -P benchmarks/bench.py [--only NAME ...] [--runs 3] [--readme]`` (``make bench``). Each script runs in
a process of its own and tells its figures through `benchmarks.figures`. Short scripts run several times; the table
holds the median and what was seen from least to most, over the runs or, where a script repeats its work itself, over
its rounds. With ``--readme`` the table takes the place of the one in ``README.md``. A script that cannot run here is
named below the table, with the reason.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.figures import COLLECTED, Figure, collected, number

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- benchmarks -->", "<!-- end of benchmarks -->"


@dataclass(frozen=True)
class Script:
    """One benchmark, as `make bench` runs it."""

    name: str
    arguments: tuple[str, ...] = ()
    repeated: bool = False
    """Short enough to run several times."""

    def command(self) -> list[str]:
        return [sys.executable, "-P", str(HERE / f"{self.name}.py"), *self.arguments]


SMALL = () if torch.cuda.is_available() else ("--small",)
SCRIPTS = (
    Script("load"),
    Script("extract", repeated=True),
    Script("extract", ("--only", "growth")),
    Script("classify", ("--trials", "60")),
    Script("statistics", repeated=True),
    Script("saliency"),
    Script("finetune", SMALL),
    Script("view"),
    Script("scale"),
    Script("honesty", ("--seeds", "5", "--repeats", "10")),
    Script("coverage", ("--quick",)),
    Script("lattices", ("--lattices", "50")),
    Script("ablate", ("--fraction", "36")),
)


def main() -> None:
    names = sorted({script.name for script in SCRIPTS})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--runs", type=int, default=3, help="of short scripts")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    start, rows, failed = time.monotonic(), [], []
    for script in [one for one in SCRIPTS if one.name in options.only]:
        found, error = measure(script, options.runs if script.repeated else 1)
        rows += [(script.name, *figure) for figure in combined(found)]
        failed += [f"{script.name} {' '.join(script.arguments)}: {error}"] if error else []
    minutes = (time.monotonic() - start) / 60
    lines = [f"{machine()}; {minutes:.0f} minutes.", "", *table(rows)]
    lines += ["", *(f"Not measured: {reason}." for reason in failed)] if failed else []
    print("\n".join(["", *lines]))
    if options.readme:
        put_into(README, lines)


def measure(script: Script, runs: int) -> tuple[list[Figure], str]:
    """The figures of all runs, and the last line of the error when one failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures"
        path.touch()
        for run in range(runs):
            print(f"== {' '.join(script.command()[2:])}, run {run + 1} of {runs}", flush=True)
            done = subprocess.run(  # noqa: S603
                script.command(),
                env={**os.environ, COLLECTED: str(path)},
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode:
                print(done.stderr, file=sys.stderr, flush=True)
                return collected(path), (done.stderr.strip().splitlines() or ["no message"])[-1]
        return collected(path), ""


def combined(found: Sequence[Figure]) -> Iterable[tuple[Figure, int]]:
    """Figures of one name as one, and of how many runs: the median, the least and the most."""
    by_name: dict[str, list[Figure]] = {}
    for figure in found:
        by_name.setdefault(figure.name, []).append(figure)
    for name, same in by_name.items():
        value = statistics.median(figure.value for figure in same)
        low, high = min(figure.low for figure in same), max(figure.high for figure in same)
        yield Figure(name, value, low, high, same[0].target), len(same)


def table(rows: Sequence[tuple[str, Figure, int]]) -> list[str]:
    """Figures that have a target, as Markdown."""
    lines = ["| benchmark | figure | target | measured | least to most | met |", "|---|---|---|---|---|---|"]
    for script, figure, _ in rows:
        if figure.target.text() != "-":
            spread = f"{number(figure.low)} to {number(figure.high)}" if figure.low < figure.high else "one run"
            met = "yes" if figure.target.is_met(figure.value) else "**no**"
            cells = (script, figure.name, figure.target.text(), number(figure.value), spread, met)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def machine() -> str:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = os.getloadavg()[2]
    return f"{os.cpu_count()} cores ({platform.machine()}), {device}, load {load:.1f}, {time.strftime('%Y-%m-%d')}"


def put_into(path: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the marks."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
