"""Any recipe is refused by an error of the library, or runs: never a traceback, never a hang."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tutelage as tl
from recipe_sources import RECIPE
from tutelage.recipes import schema
from tutelage.recipes.reading import parse

_SCHEMA = schema()
_NAMES = sorted(
    {name for each in _SCHEMA["$defs"].values() for name in each.get("properties", {})}
    | set(_SCHEMA["$defs"])
    | set(_SCHEMA["properties"])
)
_WORDS = st.sampled_from([*_NAMES, "job.py:net", "job.py:data", "none.csv", "a.b", ":", "0", ""])
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | _WORDS
    | st.text(max_size=5)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)


def _of_schema(node, depth=0):
    """Return a strategy of values that fit a part of the schema, mostly."""
    if "$ref" in node:
        node = _SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    several = node.get("anyOf") or node.get("oneOf")
    if depth > 6 or (not several and "type" not in node):
        return _VALUES
    if several:
        return st.one_of(
            [st.deferred(lambda each=each: _of_schema(each, depth + 1)) for each in several]
        )
    kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
    simple = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(-2, 5),
        "number": st.floats(-2, 8) | st.integers(0, 3),
        "string": st.sampled_from(
            node.get("enum", ["job.py:net", "job.py:small", "job.py:data", "x"])
        ),
    }
    if kinds[0] in simple:
        return simple[kinds[0]]
    if kinds[0] == "array":
        return st.lists(
            st.deferred(lambda: _of_schema(node.get("items", {}), depth + 1)), max_size=3
        )
    properties = node.get("properties", {})
    chosen = (
        st.lists(st.sampled_from(sorted(properties)), max_size=2) if properties else st.just([])
    )
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries(
            {name: _of_schema(properties[name], depth + 1) for name in names}
        )
    )


_LIKELY = st.fixed_dictionaries(
    {"data": st.just("job.py:data")},
    optional={name: _of_schema(each) for name, each in _SCHEMA["properties"].items()},
)


def validated(values):
    """Return whether the library accepts values, and their objectives and settings."""
    try:
        job = tl.Recipe(values)._job()
        job.settings, job.asked  # noqa: B018 - built
    except tl.TutelageError:
        return False
    return True


@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(_WORDS, _VALUES, max_size=4))
def test_values_of_any_kind_are_refused_by_an_error_of_the_library(values):
    validated(values)


@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(_LIKELY)
def test_values_that_fit_the_schema_are_accepted_or_refused_by_an_error(values):
    validated(values)


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%@`?,. \n\t01e~")) | st.text())
def test_any_text_is_read_or_refused(text):
    try:
        parse(text, "r")
    except tl.RecipeError as error:
        assert str(error).startswith("r")


_LINES = RECIPE.strip().splitlines()


@pytest.mark.usefixtures("job")
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(
        ["training", "objective", "student", "teacher", "fine_tune", "stages", "label"]
    ),
    st.data(),
    st.integers(0, 10**9),
)
def test_a_recipe_with_a_section_at_random_runs_or_is_refused(section, data, number):
    value = data.draw(_of_schema(_SCHEMA["properties"][section]))
    values = dict(parse(RECIPE, "r").values) | {section: value, "out": f"runs/{number}"}
    if section == "stages":
        values.pop("objective")
        values["training"] = {"batch_size": 16}
    values["training"] = small(values["training"])
    for name in ("fine_tune", "label"):
        if name in values:
            values[name] = small(values[name])
    try:
        tl.Recipe(values).run()
    except tl.TutelageError:
        pass


def small(section):
    """Return a section without what takes long or is not of this machine."""
    if not isinstance(section, dict):
        return section
    kept = {name: each for name, each in section.items() if name not in ("engine", "compile")}
    return kept | {"epochs": 1} if "epochs" in kept else kept
