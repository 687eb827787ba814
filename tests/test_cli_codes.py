"""The command that explains codes."""

import pytest

from triher.cli import main
from triher.codes import CODES


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `triher codes`."""
    with pytest.raises(SystemExit) as left:
        main(["codes", *arguments])
    return (left.value.code, *capsys.readouterr())


def test_one_code_is_explained(capsys):
    code, out, _ = said(["mask_empty"], capsys)
    assert code == 0
    assert all(word in out for word in ("mask_empty", "the lesion mask holds no voxel", "segment the lesion"))


def test_all_codes_are_listed(capsys):
    code, out, _ = said([], capsys)
    assert code == 0
    assert [name for name in CODES if name not in out] == []


def test_a_typo_is_told_the_nearest_code(capsys):
    code, _, err = said(["mask_emty"], capsys)
    assert code == 2
    assert "did you mean 'mask_empty'?" in err
