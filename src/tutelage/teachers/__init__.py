"""Where a teacher's signals come from: a live module, or a callable such as scikit-learn's."""

from tutelage.teachers._teacher import Teacher
from tutelage.teachers.live import Live, as_teacher
from tutelage.teachers.predictor import Predictor

__all__ = ["Live", "Predictor", "Teacher", "as_teacher"]
