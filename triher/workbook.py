"""Whether a file is a workbook that can be opened safely."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from triher.errors import StopRun

WORKBOOK_SUFFIXES = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
"""Names that mean a workbook; the content then decides whether it is one that we can read."""

_MAX_BYTES = 2**30  # unpacked; a million rows by eight columns take half of it
_MAX_RATIO = 200  # unpacked to packed: see `_check_size`
_SMALL = 2**26  # bytes unpacked up to which the ratio does not matter
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # [MS-CFB] 2.2: the container of .xls, and of encrypted workbooks
_OTHER_KINDS = {"xl/workbook.bin": "a binary workbook (.xlsb)", "mimetype": "an OpenDocument file (.ods)"}
_STRICT = (
    b"purl.oclc.org/ooxml"  # names of elements in 'Strict Open XML' (ECMA-376 part 1); openpyxl reads the others
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that ECMA-376 part 2 allows
# What openpyxl, zipfile and the XML parser raise on broken or missing parts (ParseError is a SyntaxError).
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Say what is wrong with a workbook in which a part is broken or missing.

    Raises:
        StopRun: ``table_format``.
    """
    try:
        yield
    except _DAMAGE as error:
        message = f"{path} cannot be read as a workbook: {type(error).__name__}: {error}"
        raise StopRun("table_format", message, remedy="open it in Excel and save it again as .xlsx") from error


def check_content(path: Path, handle: IO[bytes]) -> None:
    """Refuse what is no workbook, whatever its name says.

    Raises:
        StopRun: ``table_empty`` or ``table_format``.
    """
    head = handle.read(512)
    if not head:
        raise StopRun("table_empty", f"{path} is empty")
    if head.startswith(_OLE):
        encrypted = "EncryptedPackage".encode("utf-16-le") in head + handle.read()
        kind = "encrypted" if encrypted else "a workbook of the old .xls format"
        raise StopRun("table_format", f"{path} is {kind}")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise StopRun("table_format", f"{path} is a web page or XML, not a workbook")
    if not head.startswith(b"PK"):
        remedy = "if it is text, name it .csv, else save it again as .xlsx"
        raise StopRun("table_format", f"{path} is no workbook: it starts with {head[:8]!r}", remedy=remedy)
    handle.seek(0)


def check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse other formats, encryption, and what would fill the memory.

    The sizes may be trusted, for zipfile never unpacks more than is declared.

    Raises:
        StopRun: ``table_format``.
    """
    members = archive.infolist()
    for name, kind in _OTHER_KINDS.items():
        if name in archive.namelist():
            raise StopRun("table_format", f"{path} is {kind}")
    if any(member.flag_bits & 1 for member in members):
        raise StopRun("table_format", f"{path} is encrypted")
    if any(member.compress_type not in _METHODS for member in members):
        raise StopRun("table_format", f"{path} is packed in a way that workbooks never are")
    _check_size(path, members)
    if any(_STRICT in archive.read(part) for part in workbook_parts(archive)):
        raise StopRun("table_format", f"{path} is a 'Strict Open XML' workbook")


def workbook_parts(archive: zipfile.ZipFile) -> list[str]:
    """The parts that say which sheets there are; some programs number them."""
    return [name for name in archive.namelist() if re.fullmatch(r"xl/workbook\d*\.xml", name)]


def _check_size(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse what unpacks to more than a table is: equal rows pack to a twentieth, zeros to a thousandth."""
    size = sum(member.file_size for member in members)
    ratio = size / max(1, sum(member.compress_size for member in members))
    if size > _MAX_BYTES or (size > _SMALL and ratio > _MAX_RATIO):
        message = f"{path} unpacks to {size / 1e6:,.0f} MB, {ratio:.0f} times its size; a table has less"
        raise StopRun("table_format", message, remedy="save the sheet alone as CSV in UTF-8")
