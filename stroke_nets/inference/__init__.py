"""From a scan to a lesion mask on its own grid.

``inputs`` finds the scans, ``weights`` and ``method`` build a network from a bundle's
configuration, ``space`` places the scan on the template and maps back, the sliding windows
(``slice_stack``, ``sliding_patch``) see the network as a callable on a ``backend``, ``outputs``
and ``lesion_table`` write what was found, and ``pipeline`` does one after the other.
"""
