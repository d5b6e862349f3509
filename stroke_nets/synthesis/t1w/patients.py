"""Patients as a data set: each is made when it is asked for, and differs from all others."""

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
        count: patients of an epoch.
        seed: of the series.
        habit: what patients are like.
        plain: share of plain patients in the first epoch; it falls to ``habit.plain`` ...
        until: ... at this epoch: large cavities first, faint and small lesions later.
        fresh: whether each epoch has patients of its own; else all have the first one's.
        transform: of each patient's dictionary, such as a resampling to the network's grid.
    """

    def __init__(
        self,
        sources: Sources,
        count: int,
        seed: int = 0,
        habit: Habit | None = None,
        plain: float = 0.0,
        until: int = 1,
        fresh: bool = True,
        transform: Callable[[dict[str, Tensor]], Any] | None = None,
    ) -> None:
        """Start at epoch 0."""
        self.sources, self.count, self.seed, self.habit = sources, count, seed, habit or Habit()
        self.plain, self.until, self.fresh, self.epoch = plain, until, fresh, 0
        self.transform = transform
        self.names = [f"patient {index} of seed {seed}" for index in range(count)]

    def set_epoch(self, epoch: int) -> None:
        """Make other patients than in the epochs before, if they are to be fresh."""
        self.epoch = epoch

    def __len__(self) -> int:
        """How many patients an epoch has."""
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image (2, X, Y, Z), its mirror image second, and label (1, X, Y, Z)."""
        first = self.epoch * self.count if self.fresh else 0
        share = max(0.0, 1 - self.epoch / self.until) * (self.plain - self.habit.plain)
        habit = replace(self.habit, plain=self.habit.plain + share)
        image, label = make_patient(self.seed, first + index, self.sources, habit)
        patient = {"image": with_mirror(image[None]), "label": label[None].float()}
        return patient if self.transform is None else self.transform(patient)
