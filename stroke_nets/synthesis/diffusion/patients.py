"""A data set of patients in diffusion MRI."""

from stroke_nets.synthesis import t1w
from stroke_nets.synthesis.diffusion.patient import Habit, make_patient


class Patients(t1w.Patients):
    """As `stroke_nets.synthesis.t1w.Patients`; images are DWI, ADC and the mirror image of each."""

    usual = Habit()
    make = staticmethod(make_patient)
