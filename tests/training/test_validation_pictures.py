import matplotlib.image
import numpy as np
import torch
from monai.engines import SupervisedEvaluator

from stroke_nets.training.validation_pictures import ValidationPictures

SHAPE = (12, 16, 8)


class Cases(torch.utils.data.Dataset):
    """Two cases with a lesion on the patient's left; the image is the mask."""

    names = ("sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        mask = torch.zeros(1, *SHAPE)
        mask[:, :4, 4:9, 3 + index] = 1
        return {"image": mask, "label": mask}


class Patches(Cases):
    """The same after a background channel; a patch says of which case it is."""

    names = ()

    def __len__(self):
        return 1

    def __getitem__(self, index):
        hot = {key: torch.cat([1 - v, v]) for key, v in super().__getitem__(index).items()}
        return hot | {"case": "sub-7/anat/sub-7_T1w.nii.gz"}


def validate(folder, batches, dataset):
    """Evaluate with a network that returns its input."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=1)
    engine = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=loader, network=torch.nn.Identity()
    )
    ValidationPictures(folder, batches).attach(engine)
    engine.run()
    return sorted(path.name for path in folder.iterdir())


def test_the_first_cases_are_drawn_and_named_after_their_scans(tmp_path):
    assert validate(tmp_path / "one", 1, Cases()) == ["sub-1_T1w.png"]
    assert validate(tmp_path / "all", 3, Cases()) == ["sub-1_T1w.png", "sub-2_T1w.png"]
    pixels = matplotlib.image.imread(tmp_path / "one" / "sub-1_T1w.png")[..., :3]
    truth = pixels[:, pixels.shape[1] // 4 : pixels.shape[1] // 2]
    columns = np.nonzero((truth[..., 0] > 0.7) & (truth[..., 2] < 0.3))[1]
    assert columns.mean() > truth.shape[1] / 2  # the patient's left is on the right


def test_a_patch_is_drawn_by_its_lesion_and_named_after_its_case(tmp_path):
    assert validate(tmp_path / "patches", 1, Patches()) == ["sub-7_T1w.png"]
    assert validate(tmp_path / "whole", 1, Cases()) == ["sub-1_T1w.png"]
    patch, whole = (next((tmp_path / name).iterdir()) for name in ("patches", "whole"))
    assert patch.read_bytes() == whole.read_bytes()
