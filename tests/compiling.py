"""What tests need that run PyTorch's compiler of every day."""

import shutil

import pytest

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ is installed")

compilers_warnings = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
"""Its own: it looks at `.grad` of all tensors, and uses what torch advises against."""
