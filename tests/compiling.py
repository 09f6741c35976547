"""What tests need that run PyTorch's compiler of every day."""

import shutil

import pytest


def has_compiler():
    """Tell whether PyTorch's compiler can compile for the CPU."""
    return shutil.which("g++") is not None


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no g++ is installed")

compilers_warnings = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
"""Its own: it looks at `.grad` of all tensors, and uses what torch advises against."""
