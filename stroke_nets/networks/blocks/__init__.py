"""Blocks that more than one network or option is built from."""
