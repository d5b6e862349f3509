"""Data sets, manifests, the strict reader and simulated patients."""
