"""Reproduce the papers' tables: the grid of runs, what each costs, and what they end in.

Snakemake runs the grid from an environment of its own (``Snakefile``); everything it needs to know
is worked out here. ``settings.json`` says what the scales are.
"""
