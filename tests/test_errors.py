import inspect

import pytest

from tutelage import errors

CHILDREN = {
    "ArgumentError": ValueError,
    "NotFoundError": ValueError,
    "DataError": Exception,
    "ModelError": Exception,
    "NonFiniteError": Exception,
    "RecipeError": ValueError,
    "RunFolderError": Exception,
    "StoreError": Exception,
}


def defined():
    classes = {name: each for name, each in vars(errors).items() if inspect.isclass(each)}
    return {name for name, each in classes.items() if each.__module__ == errors.__name__}


def test_the_tree_is_complete():
    assert defined() == {"TutelageError", *CHILDREN}


@pytest.mark.parametrize(("name", "also"), CHILDREN.items())
def test_every_error_is_caught_as_a_tutelage_error(name, also):
    error = getattr(errors, name)
    assert issubclass(error, errors.TutelageError)
    assert issubclass(error, also)


def test_the_tree_in_the_docstring_is_complete():
    assert errors.__doc__ is not None
    assert [name for name in defined() if name not in errors.__doc__] == []
