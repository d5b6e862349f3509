"""Serve bundles to 3D Slicer and OHIF by MONAI Label, which lives in an environment of its own."""
