"""Any recipe is refused by an error of the library, or runs: never a traceback, never a hang."""

from contextlib import suppress
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tutelage as tl
from recipe_sources import RECIPE
from tutelage.recipes import schema
from tutelage.recipes.reading import parse

SCHEMA = schema()
NAMES = sorted(
    {name for each in SCHEMA["$defs"].values() for name in each.get("properties", {})}
    | set(SCHEMA["$defs"])
    | set(SCHEMA["properties"])
)
WORDS = [*NAMES, "job.py:net", "job.py:data", "none.csv", "a.b", ":", "0", "", "x" * 300]
LEAVES = [None, True, False, 0, 1, -3, 2**62, 2**70, 0.5, -1e300, float("nan"), float("inf")]
SEEDS = st.integers(0, 2**32)


def of_any_kind(random, depth=0):
    """Return plain data."""
    kind = random.random()
    if depth > 3 or kind < 0.5:
        return random.choice(LEAVES if random.random() < 0.5 else WORDS)
    number = random.randrange(3)
    if kind < 0.65:
        return [of_any_kind(random, depth + 1) for _ in range(number)]
    return {random.choice(WORDS): of_any_kind(random, depth + 1) for _ in range(number)}


def of_schema(random, node, depth=0):
    """Return data that fits a part of the schema, but for a wrong value now and then."""
    if "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    several = node.get("anyOf") or node.get("oneOf")
    if depth > 8 or random.random() < 0.02 or not (several or "type" in node):
        return of_any_kind(random, 3)
    if several:
        return of_schema(random, random.choice(several), depth + 1)
    kind = node["type"][0] if isinstance(node["type"], list) else node["type"]
    if kind == "array":
        number = random.choice([1, 2, 2, 3])
        return [of_schema(random, node.get("items", {}), depth + 1) for _ in range(number)]
    if kind == "object":
        return _mapping(random, node, depth)
    return {
        "null": None,
        "boolean": random.random() < 0.5,
        "integer": random.choice([1, 1, 2, 3, 0, -1]),
        "number": random.choice([0.1, 0.5, 1.0, 2.0, 4, 0, -1.0]),
        "string": random.choice(node.get("enum", ["job.py:net", "job.py:small", "1", "x"])),
    }[kind]


def _mapping(random, node, depth):
    properties, required = node.get("properties", {}), node.get("required", [])
    if not properties:
        values = node.get("additionalProperties")
        return {"0": of_schema(random, values if isinstance(values, dict) else {}, depth + 1)}
    more = random.sample(sorted(properties), min(len(properties), random.choice([0, 1, 1, 2])))
    return {
        name: of_schema(random, properties[name], depth + 1)
        for name in dict.fromkeys([*required, *more])
    }


def accepted(values):
    """Return whether the library accepts values, and builds their objectives and settings."""
    try:
        job = tl.Recipe(values)._job()
        return (job.settings, job.objectives) is not None
    except tl.TutelageError:
        return False


@settings(max_examples=500)
@given(SEEDS)
def test_values_of_any_kind_are_refused_by_an_error_of_the_library(seed):
    random = Random(seed)
    accepted({random.choice(WORDS): of_any_kind(random) for _ in range(3)})
    accepted(
        {"data": "job.py:data", random.choice(list(SCHEMA["properties"])): of_any_kind(random)}
    )


def test_values_that_fit_the_schema_are_accepted_or_refused_by_an_error():
    random, found = Random(0), {}
    for _ in range(1000):
        section = random.choice(sorted(SCHEMA["properties"]))
        value = of_schema(random, SCHEMA["properties"][section])
        good = accepted({"data": "job.py:data"} | {section: value})
        found.setdefault(section, []).append(good)
    # The cases reach what is behind validation.
    assert all(any(each) for each in found.values())


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%@`?,. \n\t01e~")) | st.text())
def test_any_text_is_read_or_refused(text):
    with suppress(tl.RecipeError):
        parse(text, "r")


@pytest.mark.usefixtures("job")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SEEDS)
def test_a_recipe_with_a_section_at_random_runs_or_is_refused(seed):
    run_at_random(seed)


def run_at_random(seed):
    """Run a recipe with one section at random; return whether it ran."""
    random = Random(seed)
    often = ["training", "objective", "student", "teacher", "fine_tune", "stages", "label"]
    section = random.choice(often)
    values = dict(parse(RECIPE, "r").values) | {"out": f"runs/{seed}"}
    values[section] = of_schema(random, SCHEMA["properties"][section])
    if section == "stages":
        del values["objective"]
        values["training"] = {"batch_size": 16}
    for name in ("training", "fine_tune", "label"):
        if isinstance(values.get(name), dict):
            values[name] = _small(values[name])
    with suppress(tl.TutelageError):
        tl.Recipe(values).run()
        return True
    return False


def _small(section):
    """Return a section without what takes long or is not of this machine."""
    kept = {name: each for name, each in section.items() if name not in ("engine", "compile")}
    return kept | {"epochs": 1} if "epochs" in kept else kept
