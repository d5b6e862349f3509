"""Two bundles as tiny trainings, and whether two of their states are the same."""

import torch

EPOCHS = 3
PROTOCOLS = {
    "slices": ("d_unet", {"widths": [4, 8, 8, 8, 16], "size": 48, "batch_size": 8}),
    "patches": (
        "mscsa_default",
        {"widths": [4, 8, 8], "patch_size": [16, 16, 16], "supervision": [2, 1], "heads": 2}
        | {"train_batches": 3, "val_batches": 1},
    ),
}


def assert_same(one, other):
    """Every tensor to the last bit, and every number, whatever they lie in."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other
