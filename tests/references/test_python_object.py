"""References to objects, and errors for invalid ones."""

import sys

import pytest

from tutelage.errors import ArgumentError
from tutelage.references import load

SOURCE = """
import functools
from beside_{name} import NUMBER

made = []

class Model:
    best = [1, 2]
    def __call__(self, inputs):
        raise RuntimeError("an object that can be called is the object")

def model():
    made.append(Model())
    return made[-1]

def sized(width, depth=2):
    return width * depth

wide = functools.partial(sized, 8)
one = Model()
"""


@pytest.fixture
def name(request, tmp_path, monkeypatch):
    """The name of a module in a folder that is the working folder; gone afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    name = f"mine{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(SOURCE.format(name=name))
    (tmp_path / f"beside_{name}.py").write_text("NUMBER = 3")
    monkeypatch.chdir(tmp_path)
    yield name
    for each in set(sys.modules) - before:
        if each.endswith(name) or each.startswith("package_of"):
            del sys.modules[each]


@pytest.mark.parametrize("form", ["{name}", "{name}.py", "{folder}/{name}.py"])
def test_objects_are_returned_and_functions_called(form, name, tmp_path):
    source = form.format(name=name, folder=tmp_path)
    module = sys.modules[type(load("x", f"{source}:one")).__module__]
    assert load("x", f"{source}:one") is module.one
    assert load("x", f"{source}:model") is module.made[0]
    assert isinstance(load("x", f"{source}:Model"), module.Model)
    assert load("x", f"{source}:wide") == 16
    assert load("x", f"{source}:NUMBER") == 3
    assert load("x", f"{source}:one.best") is module.Model.best


def test_a_file_and_its_module_are_one(name, tmp_path):
    assert load("x", f"{name}:one") is load("y", f"{tmp_path / name}.py:one")


def test_a_module_in_a_package(name, tmp_path):
    package = tmp_path / f"package_of_{name}"
    package.mkdir()
    (package / "inner.py").write_text("value = 5")
    assert load("x", f"package_of_{name}.inner:value") == 5


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("math", "`x` must be `package.module:name` or `folder/file.py:name`, got 'math'"),
        ("math:", "must be `package.module:name`"),
        (":pi", "must be `package.module:name`"),
        ("folder/file:pi", "must be `package.module:name`"),
        (".math:pi", "must be `package.module:name`"),
        ("math:pi + 1", "must be `package.module:name`"),
        ("no_such.module:pi", "got 'no_such.module' and no module 'no_such'; run in the folder"),
        ("math.inner:pi", "no module 'math.inner'"),
        ("nothing.py:pi", "must name an existing file, got /"),
        ("a.b.py:pi", "with a dot in its name; rename it"),
        ("json.py:loads", "hidden by .*json.__init__.py; rename it"),
        ("{name}:modle", "which has no 'modle'; did you mean 'model'"),
        ("{name}:one.bst", "which has no 'bst'; did you mean 'best'"),
        ("{name}:zzz", "which has no 'zzz'; correct the name"),
        ("{name}:sized", "which requires arguments .missing a required argument: 'width'."),
    ],
)
def test_a_reference_to_nothing_is_refused(reference, message, name, tmp_path):
    for file in ("a.b.py", "json.py"):
        (tmp_path / file).touch()
    with pytest.raises(ArgumentError, match=message):
        load("x", reference.format(name=name))


def test_errors_of_the_module_are_raised(name, tmp_path):
    """Otherwise the faulty line could not be found."""
    (tmp_path / f"beside_{name}.py").write_text("import no_such_package")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load("x", f"{name}:one")
    (tmp_path / f"beside_{name}.py").write_text("NUMBER = 1 / 0")
    with pytest.raises(ZeroDivisionError):
        load("x", f"{name}.py:one")
