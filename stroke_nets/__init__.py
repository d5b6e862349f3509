"""Stroke-lesion segmentation in MRI: the networks, losses and protocols behind ``bundles/``.

import stroke_nets
stroke_nets.predict("sub-1_T1w.nii.gz", "predictions")
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "predict"]


def __getattr__(name: str) -> Any:
    """Import ``predict`` on first access, because its imports take seconds."""
    if name == "predict":
        from stroke_nets.inference.pipeline import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
