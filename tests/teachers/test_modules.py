"""The modules of a teacher, also inside other teachers."""

import pytest
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError
from tutelage.teachers import Ensemble, Live, Predictor, Specialist, Specialists, as_teacher

ONE, OTHER = nn.Linear(2, 3), nn.Linear(2, 3)
PREDICTOR = Predictor(lambda inputs: inputs)


@pytest.mark.parametrize(
    ("teacher", "modules", "whole"),
    [
        (Live(ONE), [ONE], True),
        (PREDICTOR, [], False),
        (Specialist(ONE, [0, 1, 2], other_class=False), [ONE], True),
        (Specialists({"a": Ensemble([ONE, OTHER]), "b": ONE}), [ONE, OTHER], True),
        (as_teacher({"a": [OTHER, PREDICTOR], "b": ONE}), [OTHER, ONE], False),
    ],
)
def test_each_module_is_listed_once(teacher, modules, whole):
    found = teacher.modules()
    assert [id(each) for each in found] == [id(each) for each in modules]
    assert teacher.is_made_of_modules() is whole


@pytest.mark.parametrize(
    ("teacher", "right", "wrong"),
    [
        (nn.Sequential(ONE), "0", "1"),
        ([nn.Sequential(ONE), nn.Sequential(ONE, OTHER)], "1/1", "0/1"),
        ({"a": nn.Sequential(ONE), "b": [nn.Linear(2, 3)]}, None, "0"),
        ({"a": nn.Sequential(ONE), "b": nn.Sequential(OTHER, ONE)}, "0", "1"),
        (Specialist(nn.Sequential(ONE), [0, 1, 2], other_class=False), "0", "1"),
    ],
)
def test_missing_layers_are_refused_before_anything_runs(teacher, right, wrong):
    student = nn.Sequential(nn.Linear(2, 3))
    if right is not None:
        tl.Distiller(student, teacher, tl.FeatureMatch({"0": right}))
    with pytest.raises(ArgumentError, match=r"has no layer|must be written member/layer"):
        tl.Distiller(student, teacher, tl.FeatureMatch({"0": wrong}))
