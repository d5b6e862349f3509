"""Draw the first validation cases for a training's report."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from stroke_nets.files import whole
from stroke_nets.pages.case_figure import AxialSlice, draw_png, slice_of_interest


class ValidationPictures:
    """After each validation, draw one picture for each of its first batches, replacing the last.

    A batch is a whole case, or patches of several cases, of which the first is drawn.

    Args:
        folder: output folder, created if necessary; pictures are named after their scans.
        batches: number of batches of this process to draw.
    """

    def __init__(self, folder: Path, batches: int = 3) -> None:
        """Store the options."""
        self.folder, self.batches = folder, batches

    def attach(self, evaluator: Engine) -> None:
        """Attach to an evaluator of a `VolumeDataset` or a `PatchDataset`."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, evaluator: Engine) -> None:
        state: Any = evaluator.state
        if state.iteration > self.batches:
            return
        self.folder.mkdir(exist_ok=True)
        with whole(self.folder / f"{_name(state)}.png") as partial:
            partial.write_bytes(draw_png(_slice(state.output[0])))


def _name(state: Any) -> str:
    """The scan's name: a patch contains its case; whole cases are in the data set's order."""
    first = state.batch[0]  # MONAI decollates the batch before this event
    if "case" in first:
        case = first["case"]
    else:
        number = idist.get_rank() + (state.iteration - 1) * idist.get_world_size()
        case = state.dataloader.dataset.names[number]
    return Path(case).name.partition(".")[0]


def _slice(case: dict[str, Any]) -> AxialSlice:
    """The slice of a case (volumes C x X x Y x Z) to draw; its pixels are square.

    The lesion is the last channel: the only one, or the one after the background.
    """
    image, truth, prediction = (
        case[key][-1].detach().float().cpu().numpy() for key in ("image", "label", "pred")
    )
    truth, prediction = truth > 0.5, prediction > 0.5
    z = slice_of_interest(truth, prediction)
    return AxialSlice(image[..., z], truth[..., z], prediction[..., z], (1.0, 1.0), z)
