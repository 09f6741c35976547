import pytest
import torch

from tutelage.errors import DataError
from tutelage.objectives import by_class, by_domain
from tutelage.signals import Batch, Mixture

X = torch.zeros(3, 2)


@pytest.mark.parametrize("domain", [["1", "7", "1"], torch.tensor([1, 7, 1])])
def test_domains_are_returned_as_text(domain):
    assert by_domain(Batch(X, domain=domain)) == ["1", "7", "1"]


def test_an_unlabelled_example_is_of_no_class():
    assert by_class(Batch(X, torch.tensor([2, -100, 0]))) == ["class 2", None, "class 0"]


def test_a_mixture_is_of_the_class_that_it_has_more_of():
    mixture = Mixture(torch.tensor([5, 6, -100]), torch.tensor([0.9, 0.1, 0.2]))
    batch = Batch(X, torch.tensor([2, 2, 2]), mixture=mixture)
    assert by_class(batch) == ["class 2", "class 6", None]


def test_what_has_no_groups_is_refused():
    with pytest.raises(DataError, match=r"need each example's domain.*tl\.data\.domains"):
        by_domain(Batch(X))
    with pytest.raises(DataError, match="without any"):
        by_class(Batch(X))
    with pytest.raises(DataError, match="need class ids"):
        by_class(Batch(X, torch.zeros(3)))
