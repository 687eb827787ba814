"""Builds the site: lays out docs/, the README and the reference as Markdown, and has them made HTML."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keys
import typer.cli
from codes import PACKAGES, ROOT
from ruamel.yaml import YAML

from triher.cli import app

STAGE = ROOT / "build" / "docs"
PAGES = STAGE / "docs"
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}

# Title -> pages, in reading order. Whatever lies in docs/ must be here.
NAV: dict[str, tuple[str, ...]] = {
    "Tutorials": tuple(f"tutorials/{name}.md" for name in ("demo", "own_cohort", "encoder", "ablation", "apply")),
    "Guides": (
        "cohorts.md", "extraction.md", "encoders.md", "stores.md", "features.md", "training.md", "heads.md",
        "statistics.md", "transcriptomics.md", "ablations.md", "explanations.md", "browser.md", "dicom.md",
        "systems.md", "trials.md", "security.md",
    ),
    "Reference": ("commands.md", "keys.md", "codes.md", "faults.md", "formats.md"),
}  # fmt: skip
GENERATED = {"commands.md", "keys.md"}

_LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
_NAMED = re.compile(
    r"(?<!\[)`((?:docs/[\w/]+\.md|(?:triher|extract|classify|analysis)/[\w/]+\.py|configs/\w+\.yaml))`"
)
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def page_of(path: Path) -> str:
    """Where a file of the repository stands in the site; empty for those that do not."""
    inner = path.relative_to(ROOT).as_posix()
    if inner in TOP:
        return TOP[inner]
    if path.suffix == ".py" and path.parts[len(ROOT.parts)] in PACKAGES:
        return f"api/{inner.removesuffix('/__init__.py').removesuffix('.py')}.md"
    if inner.startswith("configs/"):
        return f"{inner}.md"
    return inner.removeprefix("docs/") if inner.startswith("docs/") else ""


def _relinked(text: str, source: Path, page: str) -> str:
    """A page's text with links between files of the repository made into links between pages."""

    def target(path: Path) -> str:
        there = page_of(path.resolve())
        if not there or not path.exists():
            raise SystemExit(f"{source}: a link to {path}, which is not there or not in the site")
        return Path("../" * page.count("/") + there).as_posix()

    def linked(found: re.Match[str]) -> str:
        return f"]({target(source.parent / found[1])}{found[2] or ''})"

    def named(found: re.Match[str]) -> str:
        path = os.path.relpath(ROOT / found[1], source.parent)
        return f"[`{found[1]}`]({path})" if (ROOT / found[1]).exists() else found[0]

    parts = _FENCE.split(text)
    return "".join(part if i % 2 else _LINK.sub(linked, _NAMED.sub(named, part)) for i, part in enumerate(parts))


def modules() -> Iterator[tuple[str, str]]:
    """Page and name of every public module."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            names = path.relative_to(ROOT).with_suffix("").parts
            if not names[-1].startswith("_") or names[-1] == "__init__":
                yield page_of(path), ".".join(names).removesuffix(".__init__")


def commands() -> str:
    """The page of commands, as their own help has it."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="triher")
    text = typer.cli.get_docs_for_click(obj=group, ctx=context, name="triher", title="Command line")
    return re.sub(r"^Example: (.*)$", r"Example: `\1`", text, flags=re.MULTILINE)


def write(page: str, text: str) -> None:
    """Put a page in its place."""
    path = PAGES / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lay_out() -> None:
    """Write every page into the stage."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in (*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))):
        page = page_of(path)
        write(page, _relinked(path.read_text(encoding="utf-8"), path, page))
    for picture in sorted((ROOT / "docs").rglob("*.png")):
        (PAGES / page_of(picture)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, PAGES / page_of(picture))
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        write(page_of(path), f"# {path.name}\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n")
    for name in ("site.css", "site.js"):
        shutil.copyfile(Path(__file__).with_name(name), PAGES / name)
    write("commands.md", commands())
    write("keys.md", keys.page())
    for page, name in modules():
        write(page, f"# {name}\n\n::: {name}\n")


def navigation() -> list[Any]:
    """The pages in reading order; stops when a page is in no list."""
    there = {path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*.md")}
    lists = {title: [page for page in names if page in there] for title, names in NAV.items()}
    api = [page for page, _ in modules()]
    configs = sorted(page for page in there if page.startswith("configs/"))
    lost = there - {page for names in lists.values() for page in names} - {*api, *configs, *TOP.values()}
    if lost:
        raise SystemExit(f"pages that no list of docs/make/website.py holds: {', '.join(sorted(lost))}")
    entries: list[Any] = [{"Start": "index.md"}, *({title: names} for title, names in lists.items() if names)]
    entries[-1]["Reference"].append({"Configurations": configs})
    project = {"Project": ["contributing.md", "changelog.md", "benchmarks.md"]}
    return [*entries, {"Python": [_branch(package, api) for package in PACKAGES]}, project]


def _branch(package: str, api: list[str]) -> dict[str, Any]:
    """A package with its modules, packages within it behind them."""
    stem = f"api/{package}"
    modules_here = [page for page in api if re.fullmatch(rf"{stem}/\w+\.md", page)]
    inner = [page for page in modules_here if any(p.startswith(page.removesuffix(".md") + "/") for p in api)]
    leaves: list[Any] = [{Path(page).stem: page} for page in modules_here if page not in inner]
    branches = [_branch(page.removeprefix("api/").removesuffix(".md"), api) for page in inner]
    return {package.rpartition("/")[2]: [f"{stem}.md", *leaves, *branches]}


def main() -> None:
    """Lay the pages out and build."""
    lay_out()
    yaml = YAML()
    config = yaml.load(Path(__file__).with_name("mkdocs.yml").read_text(encoding="utf-8"))
    config["nav"] = navigation()
    with (STAGE / "mkdocs.yml").open("w", encoding="utf-8") as file:
        yaml.dump(config, file)
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=STAGE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    (STAGE / "site").replace(ROOT / "site")


if __name__ == "__main__":
    main()
