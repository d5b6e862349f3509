"""Parts shared by all runs of a bundle: folder, options, requirements, signals and results."""
