"""Which modules answer, whatever teachers they are wrapped in."""

import pytest
from torch import nn

from tutelage.teachers import Ensemble, Live, Predictor, Specialist, Specialists, as_teacher

ONE, OTHER = nn.Linear(2, 3), nn.Linear(2, 3)
PREDICTOR = Predictor(lambda inputs: inputs)


@pytest.mark.parametrize(
    ("teacher", "modules", "whole"),
    [
        (Live(ONE), [ONE], True),
        (PREDICTOR, [], False),
        (Specialist(ONE, [0, 1, 2], elsewhere="none"), [ONE], True),
        (Specialists({"a": Ensemble([ONE, OTHER]), "b": ONE}), [ONE, OTHER], True),
        (as_teacher({"a": [OTHER, PREDICTOR], "b": ONE}), [OTHER, ONE], False),
    ],
)
def test_each_module_is_told_once(teacher, modules, whole):
    found = teacher.modules()
    assert [id(each) for each in found] == [id(each) for each in modules]
    assert teacher.is_made_of_modules() is whole
