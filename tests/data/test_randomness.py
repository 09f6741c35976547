import io
import random

import numpy as np
import pytest
import torch

from tutelage.data import randomness


def draw():
    """Draw from every generator; a second normal number is kept by numpy for the next call."""
    return random.random(), np.random.randn(), np.random.rand(), torch.rand(2).tolist()


def test_a_restored_state_gives_the_same_numbers():
    draw()
    state = randomness.capture()
    first = [draw() for _ in range(3)]
    assert [draw() for _ in range(3)] != first
    randomness.restore(state)
    assert [draw() for _ in range(3)] == first


def test_a_state_survives_a_file_that_holds_no_code():
    draw()
    file = io.BytesIO()
    torch.save(randomness.capture(), file)
    first = draw()
    randomness.seed_everything(123)
    file.seek(0)
    randomness.restore(torch.load(file, weights_only=True))
    assert draw() == first


def test_a_captured_state_does_not_move_on_with_the_generators():
    state = randomness.capture()
    first = draw()
    for _ in range(2):
        randomness.restore(state)
        assert draw() == first


@pytest.mark.parametrize(
    "one", [random.random, np.random.rand, np.random.randn, lambda: torch.rand(1)]
)
def test_states_are_equal_until_any_generator_draws(one):
    before = randomness.capture()
    assert randomness.equal(before, randomness.capture())
    one()
    assert not randomness.equal(before, randomness.capture())


def test_capturing_does_not_change_the_state():
    randomness.seed_everything(1)
    first = draw()
    randomness.seed_everything(1)
    randomness.capture()
    assert draw() == first


def test_preserved_restores_the_state():
    state = randomness.capture()
    expected = draw()
    randomness.restore(state)
    with randomness.preserved():
        assert draw() == expected
        randomness.seed_everything(5)
    assert draw() == expected


def test_preserved_restores_after_an_error_too():
    state = randomness.capture()
    expected = draw()
    randomness.restore(state)

    def fail():
        with randomness.preserved():
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert draw() == expected


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 1])
def test_seeding_determines_all_generators(seed):
    randomness.seed_everything(seed)
    first = draw()
    randomness.seed_everything(seed)
    assert draw() == first
    randomness.seed_everything(seed + 1)
    assert all(one != other for one, other in zip(draw(), first, strict=True))
