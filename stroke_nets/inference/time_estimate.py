"""How long a prediction will take, said first, and how far it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from stroke_nets.inference.method import Method
from stroke_nets.transforms.slice_plane import ATLAS_GRID

REGISTERING_SECONDS = 8.0  # one core, benchmarks/registration.py


@dataclass(frozen=True)
class Expectation:
    """The time for one scan, and the number of scans."""

    methods: dict[str, float]  # seconds of a scan
    registering: float  # seconds of a scan
    scans: int

    @property
    def per_scan(self) -> float:
        """Seconds."""
        return self.registering + sum(self.methods.values())

    def __str__(self) -> str:
        """One line for the user."""
        parts = {"registration": self.registering, **self.methods}
        told = " + ".join(f"{name} {spoken(s)}" for name, s in parts.items() if s)
        many = f"{self.scans} scans" if self.scans > 1 else "1 scan"
        return f"expected: {spoken(self.scans * self.per_scan)} for {many} ({told} each)"

    def bar(self) -> tqdm:
        """A progress bar in seconds of expected time."""
        return tqdm(
            total=round(self.scans * self.per_scan, 1),
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} to go",
            disable=None,
        )


def expect(methods: Sequence[Method], scans: int, skip_registration: bool) -> Expectation:
    """Measure one call of each network and count the calls; registration is an experience."""
    seconds = {one.weights.bundle.name: one.expected_seconds(ATLAS_GRID) for one in methods}
    return Expectation(seconds, 0.0 if skip_registration else REGISTERING_SECONDS, scans)


def spoken(seconds: float) -> str:
    """``45 s`` or ``3 min``."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
