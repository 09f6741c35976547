"""The deciding metric: which there is, found before anything is trained."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

QUIET = tl.Engine(device="cpu", progress=False)
FAST = tl.Training(engine=QUIET, batch_size=16)
GENERATOR = torch.Generator().manual_seed(0)
IDS = torch.randint(0, 20, (60, 5), generator=GENERATOR)
X = torch.randn(60, 4, generator=GENERATOR)
CLASSES = torch.arange(60) % 3


class Tagger(nn.Embedding):
    """One logit for each token."""

    def __init__(self):
        super().__init__(20, 1)


def never(_):
    raise AssertionError("an arm was begun")


def part(first, last, *columns):
    return TensorDataset(*(each[first:last] for each in columns))


def study(arm, columns, student, teacher=None, test=None, **changes):
    options = {
        "train": part(0, 20, *columns),
        "test": part(40, 60, *(columns if test is None else test)),
        "arms": {"arm": arm},
        "epochs": 1,
        "seeds": 1,
        "training": FAST,
        "progress": False,
    }
    return tl.study(teacher, student, **(options | changes))


def test_a_logit_of_each_token_is_a_single_label_whatever_the_lengths():
    """Texts of equal length have labels [examples, tokens], as several labels an example would."""
    columns = (IDS, (IDS > 9).long())
    found = study(tl.BinaryLabels(), columns, Tagger).results
    assert found.metric.name == "accuracy"
    assert found.arm("arm").metrics.keys() == {"accuracy", "f1", "average_precision"}
    with pytest.raises(tl.ArgumentError, match=r"one of \['accuracy', 'average_precision', 'f1'\]"):
        study(
            tl.BinaryLabels(), columns, Tagger, monitor="label_accuracy", controls={"never": never}
        )


@pytest.mark.parametrize(
    ("monitor", "test", "known"),
    [
        ("accuracy", (X,), r"\['agreement', 'kl'\]"),
        ("accuracy", (X, torch.full((60,), -100)), r"\['agreement', 'kl'\]"),
        (tl.Monitor("own", True), (X,), r"\['agreement', 'kl'\]"),
        ("mse", (X, CLASSES), r"\['accuracy', 'agreement', 'kl', 'own'\]"),
    ],
)
def test_a_metric_without_labels_is_refused_before_training(monitor, test, known):
    with pytest.raises(tl.ArgumentError, match=rf"metric .* must be one of {known}"):
        study(
            tl.SoftTargets(1), (X, CLASSES), lambda: nn.Linear(4, 3), nn.Linear(4, 3), test,
            monitor=monitor, controls={"never": never}, metrics={"own": lambda *_: 0.5},
        )  # fmt: skip


@pytest.mark.parametrize("monitor", ["agreement", "kl"])
def test_a_teacher_of_some_classes_has_no_agreement(monitor):
    teacher = tl.teachers.Specialist(nn.Linear(4, 2), [0, 1], other_class=False)
    with pytest.raises(tl.ArgumentError, match=r"metric .* must be one of \['accuracy'\]"):
        study(
            tl.SoftTargets(1), (X, CLASSES), lambda: nn.Linear(4, 3), teacher,
            monitor=monitor, controls={"never": never},
        )  # fmt: skip


def test_a_sweep_by_accuracy_needs_labels_to_choose_by():
    with pytest.raises(tl.ArgumentError, match="`val`, which must have labels for it, got none"):
        study(
            tl.HardLabels(), (X, CLASSES), lambda: nn.Linear(4, 3), val=part(20, 40, X),
            sweep={"learning_rate": [0.1, 0.01]}, training=FAST,
        )  # fmt: skip


def test_texts_with_one_labelled_token_each_have_as_many_rows_as_examples():
    """And labels [examples, tokens], which are those of the rows."""
    labels = torch.full(IDS.shape, -100)
    place = torch.arange(60) % 5
    labels[torch.arange(60), place] = IDS[torch.arange(60), place] % 3
    found = study(tl.HardLabels(), (IDS, labels), lambda: nn.Embedding(20, 3)).results
    assert found.metric.name == "accuracy"
    assert found.arm("arm").metrics.keys() == {"accuracy"}
