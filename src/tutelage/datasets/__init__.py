"""Data by reference: tables, texts, images and arrays in files, as data sets of raw inputs.

`load_data` reads what a recipe names and returns `Splits`; `TableInputs` turns the rows of a table
into the inputs of a network.
"""

from tutelage.datasets.columns import Column, Columns
from tutelage.datasets.load_data import load_data
from tutelage.datasets.options import DataOptions, SplitOptions
from tutelage.datasets.splits import Splits
from tutelage.datasets.synthetic import munge
from tutelage.datasets.table_inputs import TableInputs

__all__ = [
    "Column",
    "Columns",
    "DataOptions",
    "SplitOptions",
    "Splits",
    "TableInputs",
    "load_data",
    "munge",
]
