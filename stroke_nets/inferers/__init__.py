"""Inferers that see the network as a callable."""
