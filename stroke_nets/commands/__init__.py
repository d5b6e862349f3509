"""The commands of ``stroke-nets``, a module for each group of its help."""
