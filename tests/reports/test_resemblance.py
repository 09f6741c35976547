"""What a record tells of a model besides its metrics."""

import pytest
import torch

from tutelage.evaluation import Outputs, class_similarity, similarity_correlation
from tutelage.reports.sections.behaviour import _in_words
from tutelage.tasks import TASKS
from tutelage.tasks.classes import resemblance


def test_classes_without_an_example_do_not_make_two_models_alike() -> None:
    """Half of the classes of the logits are not in the data."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 60, 6, generator=generator)
    labels = torch.randint(0, 3, (60,), generator=generator)
    student, teacher = (
        TASKS["classes"].summarize([Outputs(each, labels=labels)])["similarity"] for each in outputs
    )
    expected = similarity_correlation(*(class_similarity(each, labels, 4) for each in outputs))
    assert abs(expected) < 0.5
    assert resemblance(student, teacher) == pytest.approx(expected)
    words = _in_words("Student", student, list("abcdef"))
    assert "c: " in words
    assert "d: " not in words
