"""Runs every benchmark, and prints one table of figures beside their targets.

Usage: ``python -P benchmarks/bench.py [--only NAME ...] [--runs 3]`` (``make bench``). Each script runs in
a process of its own and tells its figures through `benchmarks.figures`. Short scripts run several times; the table
holds the median and what was seen from least to most, over the runs or, where a script repeats its work itself, over
its rounds. What was measured is kept in ``benchmarks/figures.csv``, so a part can be measured again (``--only``), and
the table in ``README.md`` is written from all of it. A script that cannot run here is named, and its rows stay.
"""

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.figures import COLLECTED, Figure, collected, number
from triher.tables import read_own_table, write_table

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
KEPT = HERE / "figures.csv"
COLUMNS = ("benchmark", "figure", "target", "measured", "least", "most", "met", "date", "machine")
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

NAMES = tuple(dict.fromkeys(script.name for script in SCRIPTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--runs", type=int, default=3, help="of short scripts")
    options = parser.parse_args()
    for script in [one for one in SCRIPTS if one.name in options.only]:
        found, error = measure(script, options.runs if script.repeated else 1)
        keep(script.name, list(combined(found)))
        if error:
            print(f"{script.name} {' '.join(script.arguments)} was not measured to its end: {error}", file=sys.stderr)
    rows = kept()
    print("\n".join(["", *plain(rows)]))
    put_into(README, markdown(rows))


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


def combined(found: Sequence[Figure]) -> Iterator[Figure]:
    """Figures of one name as one: the median, the least and the most."""
    by_name: dict[str, list[Figure]] = {}
    for figure in found:
        by_name.setdefault(figure.name, []).append(figure)
    for name, same in by_name.items():
        value = statistics.median(figure.value for figure in same)
        low, high = min(figure.low for figure in same), max(figure.high for figure in same)
        yield Figure(name, value, low, high, same[0].target)


def keep(script: str, figures: Sequence[Figure]) -> None:
    """Put the figures that have a target in the place of the script's earlier ones of the same names."""
    new = {
        (script, one.name): (
            script, one.name, one.target.text(), number(one.value), number(one.low), number(one.high),
            "yes" if one.target.is_met(one.value) else "no", time.strftime("%Y-%m-%d"), machine(),
        )
        for one in figures if one.target.text() != "-"
    }  # fmt: skip
    old = {(row["benchmark"], row["figure"]): tuple(row.values()) for row in kept()}
    rows = sorted((old | new).values(), key=lambda row: NAMES.index(str(row[0])))
    write_table(KEPT, COLUMNS, rows)


def kept() -> list[dict[str, str]]:
    """What was measured so far."""
    return read_own_table(KEPT).to_dict("records") if KEPT.exists() else []


def machine() -> str:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}), {device}, load {os.getloadavg()[0]:.0f}"


def plain(rows: Sequence[dict[str, str]]) -> list[str]:
    """A line a figure, in columns."""
    every = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    widths = {name: max(len(row[name]) for row in every) for name in COLUMNS}
    return ["  ".join(row[name].ljust(widths[name]) for name in COLUMNS).rstrip() for row in every]


def markdown(rows: Sequence[dict[str, str]]) -> list[str]:
    """A row a benchmark, its figures below each other."""
    lines = ["| benchmark | figure: measured (least to most), target | when, on what |", "|---|---|---|"]
    for script, group in itertools.groupby(rows, key=lambda row: row["benchmark"]):
        same = list(group)
        when = dict.fromkeys(f"{row['date']}, {row['machine']}" for row in same)
        lines.append(f"| {script} | {'<br>'.join(map(sentence, same))} | {'; '.join(when)} |")
    return lines


def sentence(row: dict[str, str]) -> str:
    """A figure beside its target."""
    spread = f" ({row['least']} to {row['most']})" if row["least"] != row["most"] else ""
    missed = "" if row["met"] == "yes" else " **missed**"
    return f"{row['figure']}: **{row['measured']}**{spread}, {row['target']}{missed}"


def put_into(path: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the marks."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
