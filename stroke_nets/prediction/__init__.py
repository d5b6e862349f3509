"""From a scan to a lesion mask on its own grid: what ``stroke-nets predict`` does.

``inputs`` names the scans, ``weights`` and ``method`` make a network of a bundle's configuration,
``space`` brings a scan to the template and maps back, ``outputs`` and ``lesions`` write what was
found, ``pipeline`` does one after the other.
"""

from stroke_nets.prediction.pipeline import predict

__all__ = ["predict"]
