"""The Ignite pieces of a training: its data, checkpoints, progress, processes and numerics."""
