"""Partners and pairs of examples: permutations, within domains."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import CutMix, Mixup, PerExample, Swap
from tutelage.data.transforms import pairs, partners
from tutelage.errors import DataError
from tutelage.signals import Batch

DOMAINS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=30)
SEEDS = st.integers(0, 2**32)


def batch(domain):
    return Batch(torch.zeros(len(domain), 1), domain=domain)


def with_numbers(names):
    return Batch(torch.zeros(len(names), 1), domain=torch.tensor([ord(name) for name in names]))


@given(DOMAINS, SEEDS, st.sampled_from([partners, pairs]), st.booleans())
def test_a_permutation_within_domains(names, seed, draw, numbers):
    torch.manual_seed(seed)
    found = draw(with_numbers(names) if numbers else batch(names)).tolist()
    assert sorted(found) == list(range(len(names)))
    assert [names[row] for row in found] == names


@given(DOMAINS, SEEDS)
def test_pairs_are_mutual_and_leave_at_most_one_single_per_domain(names, seed):
    torch.manual_seed(seed)
    found = pairs(batch(names)).tolist()
    assert [found[row] for row in found] == list(range(len(names)))
    alone = [names[row] for row, mate in enumerate(found) if row == mate]
    odd = [name for name in set(names) if names.count(name) % 2]
    assert sorted(alone) == sorted(odd)


@pytest.mark.parametrize("draw", [partners, pairs])
def test_every_partner_is_equally_likely(draw):
    """Of 1500 draws an example of five of its domain gets each one 300 ± 4·√240 times."""
    torch.manual_seed(0)
    names = ["a", "b", "a", "a", "b", "a", "a"]
    drawn = [draw(batch(names)).tolist()[2] for _ in range(1500)]
    assert set(drawn) == {0, 2, 3, 5, 6}
    assert all(abs(drawn.count(row) - 300) < 62 for row in set(drawn))


@pytest.mark.parametrize("draw", [partners, pairs])
def test_across_domains_where_they_do_not_matter(draw):
    torch.manual_seed(0)
    names = ["a", "b"] * 8
    mates = [draw(batch(names), within_domain=False).tolist() for _ in range(5)]
    assert any(names[row] != names[mate] for each in mates for row, mate in enumerate(each))


def test_a_seed_decides():
    names = ["a", "b"] * 8
    torch.manual_seed(5)
    first = partners(batch(names))
    torch.manual_seed(5)
    assert torch.equal(partners(batch(names)), first)


@pytest.mark.parametrize(
    "inputs",
    [
        ["a", "b", "c"],
        (["a", "b", "c"], torch.zeros(3, 2)),
        {"x": PerExample([torch.zeros(2)] * 3)},
    ],
)
@pytest.mark.parametrize("transform", [Mixup(), CutMix(), Swap()], ids=repr)
def test_texts_and_other_lists_are_refused(transform, inputs):
    """They would stay as they are, and only their labels would be mixed."""
    with pytest.raises(DataError, match=r"must have inputs in tensors .* a list with one item"):
        transform(Batch(inputs, torch.arange(3)))


def test_what_applies_to_the_whole_batch_is_left_alone():
    inputs = {"x": torch.eye(3), "size": (224, 224), "return_dict": True}
    assert Mixup()(Batch(inputs, torch.arange(3))).inputs["size"] == (224, 224)
