"""The papers' tables and figures: what they print, the grid of runs behind them, and their cost.

``published/`` holds the printed values; ``tables`` and ``figures`` set our runs beside them;
``reproduce`` runs what is missing through Snakemake (``Snakefile``), in an environment of its own.
``settings.json`` describes the scales.
"""
