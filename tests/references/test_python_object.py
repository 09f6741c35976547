"""References to objects, and errors for invalid ones."""

import pickle
import subprocess
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


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder; modules of it are gone afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for each in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[each], "__file__", "")):
            del sys.modules[each]


@pytest.fixture
def name(request, folder):
    """The name of a module in the working folder."""
    name = f"mine{abs(hash(request.node.nodeid))}"
    (folder / f"{name}.py").write_text(SOURCE.format(name=name))
    (folder / f"beside_{name}.py").write_text("NUMBER = 3")
    return name


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


def test_a_module_that_was_imported_is_the_same_by_its_file(name, tmp_path):
    assert load("x", f"{name}:one") is load("y", f"{tmp_path / name}.py:one")


def test_a_module_in_a_package(name, tmp_path):
    package = tmp_path / f"package_of_{name}"
    package.mkdir()
    (package / "inner.py").write_text("value = 5")
    assert load("x", f"package_of_{name}.inner:value") == 5


@pytest.mark.parametrize("form", ["model.py:read", "model:read"])
def test_a_file_beside_does_not_hide_a_package(form, folder):
    """A name that no file of Python has would be imported by the first library that asks for it."""
    for hidden in ("colorsys", "sklearn", "zipapp"):
        (folder / f"{hidden}.py").write_text("raise RuntimeError('this is not named')")
    (folder / "model.py").write_text("import colorsys, zipapp\nimport sklearn\nread = 3")
    assert load("x", form) == 3


def test_two_files_may_have_one_name_and_so_may_what_they_import(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "model.py").write_text("from layers import size\nclass Model: pass")
        (folder / name / "layers.py").write_text(f"size = {name!r}")
    for name in ("one", "two", "one"):
        assert load("x", f"{name}/model.py:size") == name
    models = [load("x", f"{name}/model.py:Model") for name in ("one", "two")]
    assert type(models[0]) is not type(models[1])
    assert [type(each) for each in pickle.loads(pickle.dumps(models))] == list(map(type, models))


def test_a_file_may_have_the_name_of_a_package_or_any_other(folder):
    (folder / "json.py").write_text("import json\nnumber = json.loads('5')")
    (folder / "my net@2.v1.py").write_text("number = 6")
    assert load("x", "json.py:number") == 5
    assert load("x", "my net@2.v1.py:number") == 6


def test_another_process_finds_what_was_pickled_and_names_it_alike(folder, monkeypatch):
    """By its path in the working folder, so that a project that was moved goes on with its runs."""
    found = []
    for place in ("before", "after"):
        (folder / place).mkdir()
        monkeypatch.chdir(folder / place)
        text = "from layers import Layer\nclass Model: layer = Layer()"
        (folder / place / "model.py").write_text(text)
        (folder / place / "layers.py").write_text("class Layer: size = 7")
        (folder / place / "named_alike.py").write_text("class Other: pass")
        model = load("x", "model.py:Model")
        (folder / place / "pickled").write_bytes(pickle.dumps((sys.path, model)))
        found.append(type(load("x", "named_alike.py:Other")).__module__)
    code = (
        "import pickle\n_, model = pickle.load(open('pickled', 'rb'))\n"
        "assert model.layer.size == 7\nfrom tutelage.references import load\n"
        "print(type(load('x', 'named_alike.py:Other')).__module__)"
    )
    path = {"PYTHONPATH": ":".join(each for each in sys.path if each.endswith("src"))}
    command = [sys.executable, "-c", code]
    (folder / "before" / "pickled").rename(folder / "after" / "pickled")
    other = subprocess.run(command, check=True, env=path, cwd=folder / "after", capture_output=True)
    assert other.stdout.decode().strip() == found[0] != found[1]


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
        ("{name}:modle", "which has no 'modle'; did you mean 'model'"),
        ("{name}:one.bst", "which has no 'bst'; did you mean 'best'"),
        ("{name}:zzz", "which has no 'zzz'; correct the name"),
        ("{name}:sized", "which requires arguments .missing a required argument: 'width'."),
    ],
)
def test_a_reference_to_nothing_is_refused(reference, message, name):
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
