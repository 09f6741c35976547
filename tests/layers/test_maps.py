import pytest
from torch import nn

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import map_every_nth, map_uniform


def model(count):
    return nn.Sequential(*[nn.Linear(2, 2) for _ in range(count)])


def positions(layer_map):
    return {int(ours): int(theirs) for ours, theirs in layer_map.items()}


@pytest.mark.parametrize(
    ("ours", "n", "theirs", "expected"),
    [(3, 2, 6, [1, 3, 5]), (3, 1, 3, [0, 1, 2]), (2, 3, 6, [2, 5]), (2, 2, 7, [1, 3])],
)
def test_every_nth_takes_the_last_of_each_n(ours, n, theirs, expected):
    assert list(positions(map_every_nth(model(ours), model(theirs), n)).values()) == expected


@pytest.mark.parametrize("ours", range(2, 8))
def test_uniform_ends_with_the_last_and_never_takes_one_twice(ours):
    found = positions(map_uniform(model(ours), model(7)))
    taken = list(found.values())
    assert list(found) == list(range(ours))
    assert taken[-1] == 6
    assert taken == sorted(set(taken))


def test_uniform_by_hand():
    # ⌈5/3⌉ − 1, ⌈10/3⌉ − 1, ⌈15/3⌉ − 1
    assert positions(map_uniform(model(3), model(5))) == {0: 1, 1: 3, 2: 4}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_uniform_is_every_nth_where_it_divides(n):
    student, teacher = model(4), model(4 * n)
    assert map_uniform(student, teacher) == map_every_nth(student, teacher, n)


@pytest.mark.parametrize("make", [map_every_nth, map_uniform])
def test_paths_choose_the_containers(make):
    twin = nn.ModuleDict({"a": nn.ModuleList(model(2)), "b": nn.ModuleList(model(4))})
    layer_map = make(twin, twin, student_path="a", teacher_path="b")
    assert all(path.startswith("a.") for path in layer_map)
    assert all(path.startswith("b.") for path in layer_map.values())
    with pytest.raises(ArgumentError, match=r"several parts of the teacher"):
        make(twin, twin, student_path="a")
    with pytest.raises(ArgumentError, match=r"several parts of the student"):
        make(twin, twin, teacher_path="a")


@pytest.mark.parametrize(
    ("make", "need"),
    [
        (lambda s, t: map_every_nth(s, t, 2), "2 teacher blocks for each student block"),
        (map_uniform, "1 teacher block for each student block"),
    ],
)
def test_too_few_blocks_are_refused_with_both_numbers(make, need):
    with pytest.raises(ModelError, match=rf"needs {need}, got 3 \(student\) and 2 \(teacher\)"):
        make(model(3), model(2))


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_numbers_of_blocks_are_positive_integers(value):
    with pytest.raises(ArgumentError, match=r"`n` must be"):
        map_every_nth(model(2), model(4), value)
