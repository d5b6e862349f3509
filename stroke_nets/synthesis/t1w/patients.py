"""A data set of patients: each is made on access and differs from all others."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from stroke_nets.synthesis.t1w.patient import Habit, make_patient
from stroke_nets.synthesis.t1w.sources import Sources
from stroke_nets.transforms.brain_box import with_mirror


class Patients(Dataset[dict[str, Tensor]]):
    """A new patient for every index of every epoch.

    Args:
        sources: anatomies and masks.
        count: number of patients per epoch.
        seed: seed of the series.
        habit: frequencies of the kinds of patients.
        plain: share of plain patients in the first epoch, which decreases to ``habit.plain``.
        until: epoch at which it does: large cavities first, faint and small lesions later.
        fresh: whether each epoch has new patients; otherwise all repeat those of the first.
        transform: applied to each patient's dictionary, such as resampling to the network's grid.
    """

    usual: Any = Habit()
    make: Callable[..., tuple[Tensor, Tensor]] = staticmethod(make_patient)

    def __init__(
        self,
        sources: Sources,
        count: int,
        seed: int = 0,
        habit: Any = None,
        plain: float = 0.0,
        until: int = 1,
        fresh: bool = True,
        transform: Callable[[dict[str, Tensor]], Any] | None = None,
    ) -> None:
        """Start at epoch 0."""
        self.sources, self.count, self.seed, self.habit = sources, count, seed, habit or self.usual
        self.plain, self.until, self.fresh, self.epoch = plain, until, fresh, 0
        self.transform = transform
        self.names = [f"patient {index} of seed {seed}" for index in range(count)]

    def set_epoch(self, epoch: int) -> None:
        """Make new patients for this epoch, if ``fresh`` is set."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of patients per epoch."""
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image (2C, X, Y, Z), mirror images last, and label (1, X, Y, Z)."""
        first = self.epoch * self.count if self.fresh else 0
        share = max(0.0, 1 - self.epoch / self.until) * (self.plain - self.habit.plain)
        habit = replace(self.habit, plain=self.habit.plain + share)
        image, label = self.make(self.seed, first + index, self.sources, habit)
        patient = {"image": with_mirror(image.view(-1, *label.shape)), "label": label[None].float()}
        return patient if self.transform is None else self.transform(patient)
