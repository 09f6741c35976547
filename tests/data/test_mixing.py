"""Partners and pairs of examples: permutations, within domains."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data.mixing import pairs, partners
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
    """Of 4000 draws an example of five of its domain gets each one 800 ± 4·√640 times."""
    torch.manual_seed(0)
    names = ["a", "b", "a", "a", "b", "a", "a"]
    drawn = [draw(batch(names)).tolist()[2] for _ in range(4000)]
    assert set(drawn) == {0, 2, 3, 5, 6}
    assert all(abs(drawn.count(row) - 800) < 101 for row in set(drawn))


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
