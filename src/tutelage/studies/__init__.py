"""Studies: arms against controls over paired seeds, and what they prove."""

from tutelage.studies.arm import Arm, Trial
from tutelage.studies.conclude import ReportOptions
from tutelage.studies.plan import Training
from tutelage.studies.study import Study, study
from tutelage.studies.sweep import Sweep

__all__ = [
    "Arm",
    "ReportOptions",
    "Study",
    "Sweep",
    "Training",
    "Trial",
    "study",
]
