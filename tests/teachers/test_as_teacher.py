import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ModelError
from tutelage.signals import Batch
from tutelage.teachers import Ensemble, Live, Specialists, as_teacher
from tutelage.wants import OUTPUT

A, B, C = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 4)
X = torch.randn(4, 3)


def test_a_list_is_an_ensemble():
    for several in ([A, Live(B)], (A, B)):
        teacher = as_teacher(several)
        assert isinstance(teacher, Ensemble)
        expected = (A(X) + B(X)).detach() / 2
        torch.testing.assert_close(teacher.signals(Batch(X), OUTPUT).output, expected)


def test_a_dict_is_specialists():
    teacher = as_teacher({"a": A, "b": Live(B)})
    assert isinstance(teacher, Specialists)
    output = teacher.signals(Batch(X, domain=["a", "b", "b", "a"]), OUTPUT).output
    expected = torch.stack([A(X[0]), B(X[1]), B(X[2]), A(X[3])]).detach()
    torch.testing.assert_close(output, expected)


def test_a_list_in_a_dict_is_a_domains_ensemble():
    teacher = as_teacher({"a": [A, B], "b": C})
    output = teacher.signals(Batch(X[:2], domain=["a", "b"]), OUTPUT).output
    expected = torch.stack([(A(X[0]) + B(X[0])) / 2, C(X[1])]).detach()
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("wrong", [{"a": 3}, [A, None], b"ab", 3])
def test_a_member_that_is_not_a_teacher_is_refused(wrong):
    with pytest.raises(ModelError, match=r"a list of these \(an ensemble\) or a dict"):
        as_teacher(wrong)


@pytest.mark.parametrize("several", [lambda x: [x, B], lambda x: {"a": B, "b": [x, C]}])
def test_a_student_that_shares_trained_parameters_with_a_teacher_is_refused(several):
    student = nn.Sequential(A, nn.ReLU(), nn.Linear(4, 4))
    with pytest.raises(ModelError, match=r"must not share .*`0.weight`"):
        tl.Distiller(student, several(nn.Sequential(A)), tl.SoftTargets())
