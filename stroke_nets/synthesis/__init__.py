"""Simulated stroke patients: a first run needs no download and no patient's consent.

Every patient is the healthy ICBM 152 brain (the copy that ships inside nilearn, on the grid of
ATLAS v2.0), made into somebody else and given lesions of known outline. By default its tissues are
painted anew, with a head around the brain and a scanner's faults; ``Design(plain=True)`` keeps the
template's own voxels and is quick to learn. Patient ``index`` of ``seed`` is always the same,
whatever the number of workers. The lesions are made to train and test code, not to study stroke.

Letters: X, Y, Z are the voxels of the ATLAS v2.0 grid (197, 233, 189) at 1 mm; a *box* is the part
of it that a step works in.
"""

from stroke_nets.registration.template import template
from stroke_nets.synthesis.data_set import simulate
from stroke_nets.synthesis.patient import Design, simulate_patient

__all__ = ["Design", "simulate", "simulate_patient", "template"]
