"""Pieces around MONAI's Ignite engines: run folders, checkpoints, progress."""
