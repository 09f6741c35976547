"""Studies: arms against controls over paired seeds, and what they prove."""

from tutelage.studies.arm import Arm, Trial
from tutelage.studies.study import Study, study

__all__ = ["Arm", "Study", "Trial", "study"]
