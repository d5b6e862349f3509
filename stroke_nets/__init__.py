"""Stroke-lesion segmentation in MRI: the networks, losses and protocols behind ``bundles/``."""

__version__ = "0.1.0"
