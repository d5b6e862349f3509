"""Segmentation metrics on boolean arrays (numpy, scipy, cc3d; no torch)."""
