"""The configuration: every key known and typed, whatever YAML makes of the text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triher.config import dump_config, read_config, write_config
from triher.demo import demo_config
from triher.errors import StopRun
from triher.settings import Config

CONFIGS = Path(__file__).parents[1] / "configs"
BASE = "cohort: {table: cohort.csv}\n"


@pytest.fixture
def read(tmp_path):
    """Read a configuration from text."""

    def read_text(text, *overrides):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_config(path, overrides)

    return read_text


@pytest.fixture
def refused(read):
    """The code and the text of the refusal."""

    def read_and_fail(text, *overrides):
        with pytest.raises(StopRun) as caught:
            read(text, *overrides)
        return caught.value.code, caught.value.message

    return read_and_fail


def test_defaults(read):
    config = read(BASE)
    assert (config.scheme, config.seed, config.classify.folds) == ("triple", 0, 5)
    assert list(config.cohort.phases) == ["pre", "early", "late"]


@pytest.mark.fault("G10")
@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("extrakt: {}", "extrakt", "extract"),
        ("extract: {encode: x}", "extract.encode", "encoder"),
        ("classify: {fold: 3}", "classify.fold", "folds"),
        ("classify: {split: {tests: [A]}}", "classify.split.tests", "test"),
        ("extract: {region: {margin_m: 5}}", "extract.region.margin_m", "margin_mm"),
        ("extract: {slices: {polcy: all}}", "extract.slices.polcy", "policy"),
    ],
)
def test_an_unknown_key_names_the_nearest(refused, text, key, near):
    code, message = refused(BASE + text)
    assert code == "config_key"
    assert f"unknown key '{key}'; did you mean '{near}'?" in message


@pytest.mark.fault("G10")
def test_an_unknown_key_lists_the_known_where_none_is_near(refused):
    code, message = refused(BASE + "extract: {zzzz: 1}")
    assert code == "config_key"
    assert "known here: encoder, also, weights_dir" in message


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("no", "'no'"),
        ("3:20", "'3:20'"),
        ("1e-3", "0.001"),
        ('"5"', "'5'"),
        ("true", "True"),
        ("5.0", "5.0"),
        ("", "None"),
    ],
)
def test_what_is_no_whole_number_is_refused(refused, value, found):
    """YAML 1.1 read ``no`` as False and ``3:20`` as 200."""
    code, message = refused(BASE + f"seed: {value}")
    assert code == "config_value"
    assert message.endswith(f"seed: input should be a valid integer, found {found}")


@pytest.mark.fault("G11")
def test_numbers_of_yaml_1_2(read):
    assert read(BASE + "seed: 012").seed == 12  # not octal
    assert read(BASE + "seed: 0x10").seed == 16
    assert read(BASE + "classify: {alpha: 1e-3}").classify.alpha == 0.001  # not text
    assert read(BASE + "extract: {region: {margin_mm: 7}}").extract.region.margin_mm == 7
    assert read("cohort: {table: t.csv, name: no}").cohort.name == "no"


@pytest.mark.fault("G13")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("classify: {folds: 1}", "classify.folds"),
        ("classify: {folds: 21}", "classify.folds"),
        ("classify: {trials: 0}", "classify.trials"),
        ("classify: {alpha: 2}", "classify.alpha"),
        ("classify: {alpha: .nan}", "classify.alpha"),
        ("classify: {alpha: '0.1'}", "classify.alpha"),
        ("classify: {shuffle_labels: 'yes'}", "classify.shuffle_labels"),
        ("classify: {shuffle_labels: 1}", "classify.shuffle_labels"),
        ("classify: {pooling: mean}", "classify.pooling"),
        ("classify: {split: {kind: random}}", "classify.split.kind"),
        ("extract: {encoder: 5}", "extract.encoder"),
        ("extract: {region: {margin_mm: -1}}", "extract.region.margin_mm"),
        ("extract: {region: {margin_mm: .inf}}", "extract.region.margin_mm"),
        ("extract: {slices: 4}", "extract.slices"),
        ("analysis: {resamples: 10}", "analysis.resamples"),
        ("analysis: {strata: [age]}", "analysis.strata.0"),
        ("scheme: quadruple", "scheme"),
        ("seed: -1", "seed"),
        ("extract:", "extract"),
        ("1: 2", "1"),
    ],
)
def test_a_wrong_value_names_its_place(refused, text, place):
    code, message = refused(BASE + text)
    assert code == "config_value"
    assert f"{place}" in message
    assert "found" in message


@pytest.mark.fault("G13")
@pytest.mark.parametrize(
    "cohort",
    [
        "{name: x}",
        "{table: 5}",
        "{table: t.csv, name: 012}",
        "{table: t.csv, event_codes: {1: 0}}",
        "{table: t.csv, event_codes: {yes: 3}}",
        "{table: t.csv, time_unit: weeks}",
        "{table: t.csv, phases: {}}",
        "{table: t.csv, phases: {a/b: x}}",
        "{table: t.csv, phases: {..: x}}",
        "{table: t.csv, mask_label: 0}",
    ],
)
def test_a_wrong_cohort_section(refused, cohort):
    assert refused(f"cohort: {cohort}")[0] == "config_value"


def test_all_wrong_values_are_reported_at_once(refused):
    _, message = refused(BASE + "seed: x\nclassify: {folds: y}")
    assert "seed:" in message
    assert "classify.folds:" in message


@pytest.mark.fault("G11", "G12")
@pytest.mark.parametrize(
    ("text", "part"),
    [
        (BASE + "seed: 1\nseed: 2", 'duplicate key "seed"'),
        (BASE + "classify: {folds: 3, folds: 4}", 'duplicate key "folds"'),
        (BASE + "x: !!python/object/apply:os.system ['echo']", "could not determine a constructor"),
        (BASE + "x: !mine y", "could not determine a constructor"),
        (BASE + "x: [", "expected the node content"),
        (BASE + "? {a: b}\n: c", "unhashable key"),
        (BASE.encode() + b"# \xe9", "#x00e9"),
        (BASE + 'x: "\0"', "#x0000"),
        ("", "not a mapping"),
        ("- a", "not a mapping"),
        ("5", "not a mapping"),
    ],
)
def test_what_is_not_yaml_is_refused(refused, text, part):
    code, message = refused(text)
    assert code == "config_yaml"
    assert part in message


@pytest.mark.fault("G12")
def test_a_huge_file_is_refused(refused):
    code, message = refused(b"#" * 1_000_001)
    assert code == "config_yaml"
    assert "1000001 bytes" in message


def doubling(first: str, line: str) -> str:
    """Forty levels, each holding the one before it twice."""
    return f"x0: &x0 {first}\n" + "".join(line.format(i=i, j=i - 1) for i in range(1, 40))


@pytest.mark.fault("G12")
@pytest.mark.parametrize(
    "text",
    [
        BASE + doubling("[a]", "x{i}: &x{i} [*x{j}, *x{j}]\n"),
        BASE + doubling("{a: 1}", "x{i}: &x{i} {{<<: [*x{j}, *x{j}]}}\n"),
        "cohort:\n  name:\n  - &x0 [a]\n" + "".join(f"  - &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 40)),
        "cohort: " + "[" * 400 + "]" * 400,
        "cohort: " + "{a: " * 400 + "1" + "}" * 400,
        "cohort: " + "[" * 3_000,
    ],
)
def test_bombs_are_refused_at_once(refused, text):
    code, message = refused(text)
    assert code == "config_yaml"
    assert "more than 20 aliases or 20 levels" in message


def test_a_long_value_is_cut_in_the_message(refused):
    code, message = refused("cohort: {table: t.csv, name: [" + "a, " * 2_000 + "]}")
    assert code == "config_value"
    assert len(message) < 400


def test_an_alias_that_holds_itself(refused):
    assert refused("cohort: &a {table: t.csv, columns: *a}")[0] == "config_value"


def test_a_few_aliases_are_fine(read):
    config = read("cohort: {table: t.csv, phases: {pre: &x '{a}', early: *x}}")
    assert config.cohort.phases == {"pre": "{a}", "early": "{a}"}


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("classify.folds=3", lambda c: c.classify.folds == 3),
        ("extract.region.margin_mm=7.5", lambda c: c.extract.region.margin_mm == 7.5),
        ("analysis.strata=[site]", lambda c: c.analysis.strata == ("site",)),
        (
            "extract.fusions=[rgb, 'pre,early,early-pre']",
            lambda c: c.extract.fusions == ("rgb", "pre,early,early-pre"),
        ),
        ("extract.encoder=timm:resnet18", lambda c: c.extract.encoder == "timm:resnet18"),
        ("classify.split={kind: sites, test: [A]}", lambda c: c.classify.split.test == ("A",)),
        ("cohort.phases.late={patient_id}.nii", None),
        (" seed = 7", lambda c: c.seed == 7),
    ],
)
def test_overrides(read, assignment, value):
    if value is None:  # braces open a mapping in YAML, as in the file itself
        with pytest.raises(StopRun, match=r"--set cohort\.phases\.late"):
            read(BASE, assignment)
        assert read(BASE, "cohort.phases.late='{patient_id}.nii'").cohort.phases["late"] == "{patient_id}.nii"
        return
    assert value(read(BASE, assignment))


def test_the_last_override_wins(read):
    assert read(BASE + "seed: 1", "seed=2", "seed=3").seed == 3


@pytest.mark.parametrize(
    ("assignment", "code", "part"),
    [
        ("seed", "config_value", "expects KEY=VALUE, found 'seed'"),
        ("=3", "config_value", "expects KEY=VALUE"),
        ("seed=[1", "config_yaml", "--set seed"),
        ("extract.encoder=@x", "config_yaml", "--set extract.encoder"),
        ("cohort=x", "config_value", "cohort:"),
        ("scheme.x=1", "config_key", "'scheme' is a value, not a section"),
        ("classify.fold=3", "config_key", "did you mean 'folds'"),
        ("nothing.at.all=3", "config_key", "unknown key 'nothing'"),
        ("a..b=1", "config_key", "unknown key 'a'"),
        ("cohort.name=", "config_value", "cohort.name"),
    ],
)
def test_wrong_overrides(refused, assignment, code, part):
    found, message = refused(BASE + "scheme: triple", assignment)
    assert found == code
    assert part in message


def test_paths_hold_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / "c.yaml"
    path.write_text(
        "cohort: {table: ../tables/t.csv}\nextract: {weights_dir: w}\nanalysis: {reference: /abs/r.csv}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path / "configs")
    for given_path in (path, path.relative_to(tmp_path / "configs")):
        config = read_config(given_path)
        assert config.cohort.table == tmp_path / "tables" / "t.csv"
        assert config.cohort.root == tmp_path / "tables"
        assert config.extract.weights_dir == tmp_path / "configs" / "w"
        assert str(config.analysis.reference) == "/abs/r.csv"


def test_a_configuration_that_cannot_be_opened(tmp_path):
    with pytest.raises(StopRun, match=r"cannot read the configuration .*none\.yaml") as caught:
        read_config(tmp_path / "none.yaml")
    assert caught.value.code == "file_unreadable"


def test_a_written_configuration_reads_back_with_the_phases_in_their_order(read, tmp_path):
    config = read(
        "cohort: {table: t.csv, name: 'no', columns: {site: '012'}, phases: {pre: '{a}', early: '3:20', 1st: '1e-3'},"
        " event_codes: {'Yes': 1, 'No': 0}, time_unit: days}\nseed: 3\nclassify: {alpha: 0.3}\n"
    )
    path = tmp_path / "again.yaml"
    write_config(config, path)
    again = read_config(path)
    assert again == config
    assert list(again.cohort.phases) == ["pre", "early", "1st"]
    assert list(dump_config(again)["cohort"]["phases"]) == ["pre", "early", "1st"]


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
    | st.sampled_from(
        ["no", "~", "null", "012", "1e3", "2001-01-01", "=", "<<", "'", '"', "# x", "- a", "{a}", " a "]
    )
)
def test_any_name_survives_a_round_trip(tmp_path_factory, text):
    config = Config.model_validate({"cohort": {"table": "/t.csv", "root": "/", "name": text}})
    path = tmp_path_factory.getbasetemp() / "property.yaml"
    write_config(config, path)
    assert read_config(path).cohort.name == text


def test_the_configuration_in_configs_is_the_demos():
    config = read_config(CONFIGS / "demo.yaml")
    wanted = demo_config(0)
    assert config.extract == wanted.extract
    assert config.classify == wanted.classify
    assert config.analysis.covariates == wanted.analysis.covariates
    assert config.analysis.strata == wanted.analysis.strata
    assert config.explain == wanted.explain
    assert list(config.cohort.phases) == list(wanted.cohort.phases)


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_configuration_that_is_shipped_is_valid(name):
    read_config(CONFIGS / name)
