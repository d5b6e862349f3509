"""Blocks shared by several networks or options."""
