"""Simulated stroke patients, so that a first run needs neither a download nor patient consent.

Every patient is the healthy ICBM 152 brain (the copy that ships with nilearn, on the grid of
ATLAS v2.0), deformed into a new anatomy with lesions of known outline. By default the tissues get
new intensities, a head around the brain and scanner artefacts; ``Design(plain=True)`` keeps the
template's own voxels and is quick to learn. Patient ``index`` of ``seed`` is always the same,
regardless of the number of workers. The patients serve to train and test code, not to study stroke.

Letters: X, Y, Z are the axes of the ATLAS v2.0 grid (197, 233, 189) at 1 mm; a *box* is the
subvolume that a step works on.
"""

from stroke_nets.registration.template import template
from stroke_nets.synthesis.data_set import simulate
from stroke_nets.synthesis.patient import Design, simulate_patient

__all__ = ["Design", "simulate", "simulate_patient", "template"]
