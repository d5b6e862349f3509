"""Draw the first validation cases, for the page of a training."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from stroke_nets.files import whole
from stroke_nets.pages.case_figure import AxialSlice, draw_png, slice_of_interest


class ValidationPictures:
    """After each validation, one picture for each of its first batches, over the one before.

    A batch is a whole case, or patches of several, of which the first is drawn.

    Args:
        folder: of the pictures, made if need be; each is named after its case's scan.
        batches: how many, of this process.
    """

    def __init__(self, folder: Path, batches: int = 3) -> None:
        """Remember where to draw."""
        self.folder, self.batches = folder, batches

    def attach(self, evaluator: Engine) -> None:
        """Follow an evaluator of a `VolumeDataset` or a `PatchDataset`."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, evaluator: Engine) -> None:
        state: Any = evaluator.state
        if state.iteration > self.batches:
            return
        self.folder.mkdir(exist_ok=True)
        with whole(self.folder / f"{_name(state)}.png") as partial:
            partial.write_bytes(draw_png(_slice(state.output[0])))


def _name(state: Any) -> str:
    """The scan's name; a patch says its case, and whole cases come in the order of the data set."""
    first = state.batch[0]  # MONAI takes the batch apart before this event
    if "case" in first:
        case = first["case"]
    else:
        number = idist.get_rank() + (state.iteration - 1) * idist.get_world_size()
        case = state.dataloader.dataset.names[number]
    return Path(case).name.partition(".")[0]


def _slice(case: dict[str, Any]) -> AxialSlice:
    """The slice of a case, C x X x Y x Z each, to be drawn; its pixels are square.

    The lesion is the last channel, of one or, after the background, of two.
    """
    image, truth, prediction = (
        case[key][-1].detach().float().cpu().numpy() for key in ("image", "label", "pred")
    )
    truth, prediction = truth > 0.5, prediction > 0.5
    z = slice_of_interest(truth, prediction)
    return AxialSlice(image[..., z], truth[..., z], prediction[..., z], (1.0, 1.0), z)
