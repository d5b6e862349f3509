"""The result of a check: the file, the rule, what is wrong and how to fix it.

Rules have the names of their rows: F files, G geometry, L intensities and labels, D data sets,
P personal data.
"""

from dataclasses import asdict, dataclass
from typing import Any

from stroke_nets.errors import DataError


@dataclass(frozen=True)
class Finding:
    """One problem of one file, or a notice about a file that is accepted."""

    file: str
    row: str
    what: str
    fix: str
    notice: bool = False

    def __str__(self) -> str:
        """One line that names the file, what is wrong and what to do."""
        return f"{self.file}: {self.what}; {self.fix}"

    def as_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return asdict(self)


class Refusal(DataError):
    """A file is refused; ``finding`` gives the reason."""

    def __init__(self, finding: Finding) -> None:
        """Keep the finding; its line is the message."""
        super().__init__(str(finding))
        self.finding = finding
