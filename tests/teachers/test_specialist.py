import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.signals import Batch
from tutelage.teachers import Live, Specialist
from tutelage.wants import OUTPUT, Fields

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
CLASSES = ["bus", "cat", "dog", "van"]


def net(columns):
    with torch.random.fork_rng():
        torch.manual_seed(columns)
        return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, columns))


def ask(teacher, fields=OUTPUT):
    return teacher.signals(Batch(X), fields)


def output_of(model):
    return model(X).detach()


def test_the_last_logit_is_that_of_the_other_class():
    model = net(3)
    known = ask(Specialist(model, labels=[5, 2])).output
    assert known.ids.tolist() == [[5, 2]] * 4
    torch.testing.assert_close(known.logits, output_of(model)[:, :2])
    torch.testing.assert_close(known.other, output_of(model)[:, 2])


def test_without_an_other_class_the_other_classes_have_probability_zero():
    known = ask(Specialist(net(2), labels=[5, 2], other_class=False)).output
    assert known.other.tolist() == [-torch.inf] * 4


@pytest.mark.parametrize("classes", [4, CLASSES])
def test_the_output_of_a_teacher_of_all_classes_is_in_the_students_order(classes):
    model = net(4)
    output = ask(Specialist(model, [2, 0, 3, 1], other_class=False, classes=classes)).output
    for column, label in enumerate([2, 0, 3, 1]):
        torch.testing.assert_close(output[:, label], output_of(model)[:, column])


def test_labels_may_be_names_of_the_students_classes():
    assert Specialist(net(3), ["dog", "bus"], classes=CLASSES).ids == (2, 0)


def test_names_may_differ_between_teacher_and_student():
    names = {"hound": "dog", "lorry": "van"}
    assert Specialist(net(4), ["hound", "cat", "lorry"], True, CLASSES, names).ids == (2, 1, 3)


def test_equal_teachers_with_other_orders_and_names_have_equal_outputs():
    """The same model three times, its columns in another order and named in another tongue."""
    model = net(4)
    order = [3, 1, 0, 2]

    class Reordered(nn.Module):
        def forward(self, inputs):
            return model(inputs)[:, order]

    german = {"Bus": "bus", "Katze": "cat", "Hund": "dog", "Wagen": "van"}
    theirs = [list(german)[position] for position in order]
    teacher = tl.teachers.Ensemble([
        model,
        Specialist(Reordered(), order, False, 4),
        Specialist(Reordered(), theirs, False, CLASSES, german),
    ])  # fmt: skip
    torch.testing.assert_close(ask(teacher).output, output_of(model))


def test_features_pass_through():
    model = net(3)
    signals = ask(Specialist(model, [0, 1]), Fields(features=frozenset({"0"})))
    torch.testing.assert_close(signals.features["0"], model[0](X).detach())
    assert signals.output is None
    assert ask(Specialist(model, [0, 1]), Fields(True, frozenset({"0"}))).features.keys() == {"0"}


def test_ready_and_fingerprint_use_the_teachers():
    model = net(3)
    teacher = Specialist(model, [0, 1])
    with teacher.ready(torch.device("cpu")):
        assert not any(part.training for part in model.modules())
    assert all(part.training for part in model.modules())
    prints = {
        teacher.fingerprint(),
        Specialist(model, [1, 0]).fingerprint(),
        Specialist(model, [1, 0], False).fingerprint(),
        Specialist(net(2), [1, 0], False).fingerprint(),
        Specialist(model, [1, 0], False, classes=2).fingerprint(),
        Live(model).fingerprint(),
    }
    assert len(prints) == 6
    assert teacher.fingerprint() == Specialist(Live(model), [0, 1]).fingerprint()


class TestBadInput:
    @pytest.mark.parametrize(("other", "columns"), [(True, 2), (True, 4), (False, 3)])
    def test_a_wrong_number_of_logits(self, other, columns):
        with pytest.raises(ModelError, match=r"must have [23] logits, one for each label.*got \[4"):
            ask(Specialist(net(columns), [0, 1], other))

    def test_names_that_the_student_does_not_have_are_listed(self):
        with pytest.raises(ArgumentError, match=r"got \['hound', 'lorry'\] beside \['bus'"):
            Specialist(net(4), ["hound", "cat", "lorry", "van"], True, CLASSES)
        with pytest.raises(ArgumentError, match=r"got \['wolf'\]"):
            Specialist(net(3), ["hound"], True, CLASSES, {"hound": "wolf"})
        with pytest.raises(ArgumentError, match="beside no `classes`"):
            Specialist(net(3), ["hound"])

    @pytest.mark.parametrize("labels", [["dog", "hound"], [1, 1], []])
    def test_two_labels_of_one_class_or_none(self, labels):
        with pytest.raises(ArgumentError, match=r"must be different classes .*at least one"):
            Specialist(net(3), labels, True, CLASSES, {"hound": "dog"})

    def test_a_class_name_twice(self):
        with pytest.raises(ArgumentError, match=r"different names .*\['cat', 'dog', 'cat'\]"):
            Specialist(net(2), ["cat"], True, ["cat", "dog", "cat"])

    @pytest.mark.parametrize("labels", [[0, 4], [-1], [1.5], [True, 2]])
    def test_labels_that_are_not_classes_of_the_student(self, labels):
        with pytest.raises(ArgumentError, match=r"`labels` must"):
            Specialist(net(2), labels, classes=4)

    @pytest.mark.parametrize("labels", ["cat", {0: "cat", 1: "dog"}, {"cat", "dog"}])
    def test_labels_and_classes_without_an_order(self, labels):
        with pytest.raises(ArgumentError, match="`labels` must be a list in the order"):
            Specialist(net(2), labels, classes=CLASSES)
        with pytest.raises(ArgumentError, match="`classes` must be a list in the order"):
            Specialist(net(2), [0], classes=labels)

    def test_an_other_class_beside_all_classes(self):
        with pytest.raises(ArgumentError, match=r"all 2 classes must have no"):
            Specialist(net(3), [0, 1], True, 2)

    def test_a_specialist_of_a_specialist(self):
        inner = Specialist(net(3), [0, 1])
        with pytest.raises(ModelError, match="needs all classes"):
            ask(Specialist(inner, [0, 1]))
