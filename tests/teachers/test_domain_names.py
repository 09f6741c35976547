"""Misspelt domains are refused, and what goes to the generalist is logged once."""

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError, DataError
from tutelage.signals import Batch
from tutelage.teachers import Specialist, Specialists
from tutelage.wants import OUTPUT

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
A, B, C = (nn.Linear(3, 4) for _ in range(3))


def ask(teacher, *domains):
    return teacher.signals(Batch(X[: len(domains)], domain=list(domains)), OUTPUT).output


def data(*domains):
    return tl.data.domains({name: TensorDataset(X, torch.arange(4)) for name in domains})


def test_a_name_similar_to_a_specialists_is_named_where_the_generalist_is_used(caplog):
    ask(Specialists({"phto": A, "sketch": B}, generalist=C), "sketch", "photo")
    assert "no specialist for the domain 'photo'" in caplog.text
    assert "did you mean 'phto'?" in caplog.text


def test_without_a_generalist_the_error_names_the_similar_specialist():
    with pytest.raises(DataError, match=r"got 'photo'; did you mean 'phto'"):
        ask(Specialists({"phto": A, "sketch": B}), "photo")


def test_a_similar_name_listed_in_others_is_accepted():
    teacher = Specialists({"photo": A}, generalist=C, others=["photos"])
    torch.testing.assert_close(ask(teacher, "photo", "photos")[1], C(X[1]).detach())


def test_a_domain_of_the_generalist_is_logged_once(caplog):
    teacher = Specialists({"photo": A}, generalist=C)
    for _ in range(3):
        torch.testing.assert_close(ask(teacher, "photo", "map")[1], C(X[1]).detach())
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "domain 'map': the generalist" in record.getMessage()


def test_domains_listed_in_others_are_not_logged(caplog):
    teacher = Specialists({"photo": A}, generalist=C, others=["map", "icon"])
    ask(teacher, "photo", "map", "icon")
    assert not caplog.records


def test_with_others_any_further_domain_is_refused():
    teacher = Specialists({"photo": A}, generalist=C, others=["map"])
    with pytest.raises(DataError, match=r"one of \['photo', 'map'\], got 'icon'; list it in"):
        ask(teacher, "icon")


@pytest.mark.parametrize(
    "wrap",
    [lambda x: x, lambda x: DataLoader(x, 2), tl.data.Indexed],
    ids=["set", "loader", "indexed"],
)
def test_the_domains_of_a_data_set_are_checked_before_training(wrap):
    teacher = Specialists({"phto": A, "sketch": B})
    with pytest.raises(DataError, match=r"got 'photo'; did you mean 'phto'"):
        teacher.for_data("train", wrap(data("sketch", "photo")))


def test_domains_without_data_are_logged_for_the_training_data(caplog):
    teacher = Specialists({"photo": A, "sketch": B})
    teacher.for_data("val", data("photo"))
    assert not caplog.records
    teacher.for_data("train", data("photo"))
    assert "no examples of the domains ['sketch']" in caplog.text


def test_distill_refuses_a_misspelt_domain():
    teacher = Specialists({"phto": A, "sketch": B})
    with pytest.raises(DataError, match=r"got 'photo'; did you mean 'phto'"):
        tl.distill(
            teacher, nn.Linear(3, 4), train=data("photo", "sketch"),
            objective=tl.SoftTargets(2), epochs=1,
        )  # fmt: skip


def test_classes_that_no_specialist_knows_are_logged_by_name(caplog):
    classes = ["bird", "cat", "dog", "van"]
    one = Specialist(A, ["cat", "dog"], classes=classes)
    Specialists({"a": one, "b": Specialist(B, ["dog"], classes=classes)})
    assert "no specialist knows the classes ['bird', 'van']" in caplog.text


def test_missing_classes_below_the_largest_are_logged_without_a_class_count(caplog):
    Specialists({"a": Specialist(A, [0, 1]), "b": Specialist(B, [3])})
    assert "knows the classes [2]" in caplog.text


@pytest.mark.parametrize("generalist", [None, C])
def test_nothing_is_logged_if_all_classes_are_known(generalist, caplog):
    last = [2, 3] if generalist is None else [2]
    parts = {"a": Specialist(A, [0, 1], classes=4), "b": Specialist(B, last, classes=4)}
    Specialists(parts, generalist)
    assert not caplog.records


def test_others_need_a_generalist():
    with pytest.raises(ArgumentError, match="got no `generalist`"):
        Specialists({"photo": A}, others=["map"])
