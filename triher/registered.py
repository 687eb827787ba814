"""What of a study is as it was registered, and therefore confirmatory; all else is exploratory."""

from dataclasses import dataclass

from triher.registration_record import Record, load_record
from triher.study import StudyFolder


@dataclass(frozen=True)
class Registration:
    """A sound registration, and what of the study in its folder is confirmatory by it."""

    record: Record
    remarks: tuple[str, ...]
    """What differs from what was registered, and what the registration cannot promise."""
    confirmed: frozenset[str]
    """Primary cells that are as registered, with data, base and measure."""

    @property
    def seal(self) -> str:
        """SHA-256 over all that was registered, 64 hex digits."""
        return self.record.seal

    @property
    def date(self) -> str:
        """When, in UTC, ISO 8601."""
        return self.record.date

    @property
    def metric(self) -> str:
        """The one measure that was registered; every other is exploratory."""
        return self.record.metric

    def confirmatory(self, cell: str) -> bool:
        """Whether the comparison of a cell with the base, in the registered metric, is as it was registered."""
        return cell in self.confirmed


def read_registration(folder: StudyFolder) -> Registration | None:
    """What of the study in a folder is confirmatory; None where nothing was registered.

    Raises:
        StopRun: ``registration_damaged`` where ``registration.json`` is not as it was written; as
            `triher.study.StudyFolder.read_study`.
    """
    record = load_record(folder)
    if record is None:
        return None
    return Registration(record, record.remarks, frozenset())
