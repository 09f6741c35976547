"""YAML as plain data: YAML 1.2's values, a line for every key, and nothing that grows or runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tutelage as tl
from tutelage.recipes.reading import parse, plain, written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("007", 7.0),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("True", "True"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("'5e-5'", "5e-5"),
        ('"true"', "true"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        (".inf", float("inf")),
        ("[1, a, 2.5]", [1, "a", 2.5]),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    found = plain(parse(f"key: {text}", "r").values)["key"]
    assert (found, type(found)) == (value, type(value))


def test_every_key_and_item_has_its_line():
    document = parse("a: 1\nb:\n  - x\n  - c: 2\n    d: 3\n", "r.yaml")
    assert document.where(("b", "1", "d")) == "r.yaml, line 5"
    assert document.where(("b", "0")) == "r.yaml, line 3"
    assert document.where(("b", "1", "d", "unknown")) == "r.yaml, line 5"
    assert document.where(("nowhere",)) == "r.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "r, line 3: `a` must be given once, got it at r, line 1 too"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: a recipe must have no tags"),
        ("a: !!int '3'", "line 1: a recipe must have no tags"),
        ("a: [1", "r, line 1: a recipe must be YAML"),
        ("a: b: c", "r, line 1: a recipe must be YAML"),
        ("a: 1\n\tb: 2", "r, line 2: a recipe must be YAML"),
        ("? [1, 2]\n: 3", "line 1: a key must be a text"),
        ("a: 99999999999999999999", "line 1: an integer must lie below 2**63"),
        ("a: " + "9" * 5000, "line 1: an integer must lie below 2**63"),
        ("a: *unknown", "r, line 1: a recipe must be YAML"),
        ("--- 1\n--- 2", "r, line 2: a recipe must be YAML"),
    ],
)
def test_what_is_refused_has_a_line(text, message):
    with pytest.raises(tl.RecipeError) as raised:
        parse(text, "r")
    assert message in str(raised.value)


def test_aliases_that_multiply_are_refused_at_once():
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(tl.RecipeError, match="at most 20,000 values"):
        parse("\n".join(lines), "r")


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: " + "[" * 60, "a: " + "[" * 5000 + "]" * 5000])
def test_nesting_without_end_is_refused(text):
    with pytest.raises(tl.RecipeError):
        parse(text, "r")


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: " + b"x" * 2_000_000)
    with pytest.raises(tl.RecipeError, match="at most 1,000,000 characters"):
        tl.Recipe.from_file(path)


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
_WORDS = st.sampled_from(["no", "5e-5", "1.10", "~", "", "null", ".inf", "01", "9" * 30, "a: b"])
_LEAVES = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
_DATA = st.recursive(
    _LEAVES | _TEXTS | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS | _WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b"]), _DATA))
def test_what_is_written_is_read_back(values):
    assert plain(parse(written(values, "0"), "r").values) == values
