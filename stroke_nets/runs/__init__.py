"""What every run of a bundle shares: its folder, options, requirements, signals and results."""
