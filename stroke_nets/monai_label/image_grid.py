"""Stands in for ``torchvision.utils`` in MONAI Label's environment.

MONAI Label imports two functions for pictures of 2D models, which no bundle here draws; the
package itself would have to match the build of PyTorch, and fails to load beside a CPU build.
"""

from typing import Any


def make_grid(*args: Any, **kwargs: Any) -> Any:
    """Refuse to draw.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("torchvision is not installed; install it beside MONAI Label")


save_image = make_grid
