# ruff: noqa: E501 - tables
"""Tables as spreadsheets, R, pandas, SAS, UCI and Kaggle write them are read, rightly, as they are.

Each case has the file, what a user writes beside `train` and `label`, and what must come out: the
columns that are inputs with all their values, and the labels. Values are written by hand.
"""

import bz2
import gzip
import io
import lzma
import zipfile
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from tutelage.datasets import load_data
from tutelage.errors import DataError

NAN = None
"""A missing cell."""


@dataclass
class Case:
    """A file and what must come out of it: `columns` by name, days as texts, and `labels`."""

    id: str
    file: str
    content: object
    columns: dict
    labels: list
    options: dict = field(default_factory=dict)
    label: object = "y"


def plain_csv(text, sep=","):
    return text.replace(",", sep)


BASE = "x,color,y\n1,red,no\n2,blue,yes\n3,red,no\n,blue,yes\n"
BASE_COLUMNS = {"x": [1, 2, 3, NAN], "color": ["red", "blue", "red", "blue"]}
BASE_LABELS = ["no", "yes", "no", "yes"]


def base(id_, file, content, **options):
    return Case(id_, file, content, BASE_COLUMNS, BASE_LABELS, options)


def base_frame():
    return pd.read_csv(io.StringIO(BASE))


def zipped(text, name="a.csv", others=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, text)
        for each in others:
            file.writestr(each, "x")
    return buffer.getvalue()


def sheets(path):
    with pd.ExcelWriter(path) as book:
        base_frame().to_excel(book, sheet_name="data", index=False)
        pd.DataFrame({"note": ["made in May"]}).to_excel(book, sheet_name="about", index=False)


def second_sheet(path):
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"note": ["made in May"]}).to_excel(book, sheet_name="about", index=False)
        base_frame().to_excel(book, sheet_name="data", index=False)


def titled_sheet(path):
    frame = base_frame().astype(object)
    rows = [["Sales 2024", None, None], [None] * 3, list(frame.columns), *frame.to_numpy().tolist()]
    pd.DataFrame(rows).to_excel(path, index=False, header=False)


SEPARATED = [
    base("comma", "a.csv", BASE),
    base("semicolon of Excel in Europe", "a.csv", plain_csv(BASE, ";")),
    base("tab in .tsv", "a.tsv", plain_csv(BASE, "\t")),
    base("tab in .csv", "a.csv", plain_csv(BASE, "\t")),
    base("tab in .txt", "a.txt", plain_csv(BASE, "\t")),
    base("pipe", "a.csv", plain_csv(BASE, "|")),
    base("pipe that is named", "a.psv", plain_csv(BASE, "|"), read={"sep": "|"}),
    base("line for Excel", "a.csv", "sep=;\n" + plain_csv(BASE, ";")),
    base("mark of UTF-8", "a.csv", "\ufeff" + BASE),
    base("UTF-16 with tabs of Excel", "a.txt", plain_csv(BASE, "\t").encode("utf-16")),
    base("UTF-16 without a mark", "a.csv", BASE.encode("utf-16-le")),
    base("lines of Windows", "a.csv", BASE.replace("\n", "\r\n")),
    base("lines of old Macs", "a.csv", BASE.replace("\n", "\r")),
    base(
        "all cells in quotes",
        "a.csv",
        '"x","color","y"\n"1","red","no"\n"2","blue","yes"\n"3","red","no"\n"","blue","yes"\n',
    ),
    base("empty lines", "a.csv", BASE.replace("\n", "\n\n")),
    base("rows of commas alone", "a.csv", BASE + ",,\n,,\n"),
    base("a separator behind each line", "a.csv", BASE.replace("\n", ",\n")),
    base(
        "a separator behind each row", "a.csv", BASE.replace("\n", ",\n").replace("y,\n", "y\n", 1)
    ),
    base("comments above", "a.csv", "# made by a program\n# in May, at noon\n" + BASE),
    base("comments that are named", "a.csv", BASE + "# the end\n", read={"comment": "#"}),
    base("a title above", "a.csv", "Sales of 2024\n\n" + BASE),
    base("lines to be left out", "a.csv", "made by, us\n" + BASE, read={"skiprows": 1}),
    base(
        "spaces after commas",
        "a.csv",
        BASE.replace(",", ", ")
        .replace(" red", "red")
        .replace(" blue", "blue")
        .replace(" no", "no")
        .replace(" yes", "yes"),
    ),
    base(
        "a short row",
        "a.csv",
        "x,y,color\n1,no,red\n2,yes,blue\n3,no,red\n,yes,blue\n",
        columns=["x", "color"],
    ),
    base("to_csv of pandas with its index", "a.csv", base_frame().to_csv()),
    base(
        "write.csv of R with names of rows",
        "a.csv",
        '"","x","color","y"\n"1",1,"red","no"\n"2",2,"blue","yes"\n"3",3,"red","no"\n"4",NA,"blue","yes"\n',
    ),
    base(
        "write.table of R",
        "a.txt",
        '"x" "color" "y"\n"1" 1 "red" "no"\n"2" 2 "blue" "yes"\n"3" 3 "red" "no"\n"4" NA "blue" "yes"\n',
    ),
    base(
        "a column of nothing",
        "a.csv",
        "x,color,z,y\n1,red,,no\n2,blue,,yes\n3,red,,no\n,blue,,yes\n",
    ),
    base("gzip", "a.csv.gz", gzip.compress(BASE.encode())),
    base("bz2", "a.csv.bz2", bz2.compress(BASE.encode())),
    base("xz", "a.csv.xz", lzma.compress(BASE.encode())),
    base("zip", "a.zip", zipped(BASE)),
    base("zip of a Mac", "a.csv.zip", zipped(BASE, others=["__MACOSX/._a.csv"])),
    base(
        "packed lines of JSON",
        "a.jsonl.gz",
        gzip.compress(base_frame().to_json(orient="records", lines=True).encode()),
    ),
    base("JSON records", "a.json", base_frame().to_json(orient="records")),
    base("JSON columns", "a.json", base_frame().to_json()),
    base("JSON split", "a.json", base_frame().to_json(orient="split")),
    base("JSON table", "a.json", base_frame().to_json(orient="table", index=False)),
    base(
        "JSON index, which is named",
        "a.json",
        base_frame().to_json(orient="index"),
        read={"orient": "index"},
    ),
    base("JSON lines", "a.jsonl", base_frame().to_json(orient="records", lines=True)),
    base("JSON lines in .json", "a.json", base_frame().to_json(orient="records", lines=True)),
    base("JSON in an object", "a.json", '{"data": ' + base_frame().to_json(orient="records") + "}"),
    base(
        "lists in JSON",
        "a.json",
        '{"x": [1, 2, 3, null], "color": ["red", "blue", "red", "blue"], "y": ["no", "yes", "no", "yes"]}',
    ),
    base("Parquet", "a.parquet", lambda path: base_frame().to_parquet(path)),
    base(
        "Parquet with an index",
        "a.parquet",
        lambda path: (
            base_frame()
            .sample(frac=1, random_state=0)
            .sort_index()
            .iloc[[0, 1, 2, 3]]
            .set_index(pd.Index([3, 1, 0, 2]))
            .to_parquet(path)
        ),
    ),
    base(
        "Parquet of nullable types",
        "a.parquet",
        lambda path: base_frame().convert_dtypes().to_parquet(path),
    ),
    base(
        "Parquet of categories",
        "a.parquet",
        lambda path: base_frame().astype({"color": "category", "y": "category"}).to_parquet(path),
    ),
    base("Feather", "a.feather", lambda path: base_frame().to_feather(path)),
    base(
        "Stata",
        "a.dta",
        lambda path: (
            base_frame().astype({"color": object, "y": object}).to_stata(path, write_index=False)
        ),
    ),
    base("Excel", "a.xlsx", lambda path: base_frame().to_excel(path, index=False)),
    base("Excel with the index", "a.xlsx", lambda path: base_frame().to_excel(path)),
    base("Excel with two sheets", "a.xlsx", sheets),
    base("the second sheet", "a.xlsx", second_sheet, read={"sheet_name": 1}),
    base("a sheet by its name", "a.xlsx", second_sheet, read={"sheet_name": "data"}),
    base("Excel with a title", "a.xlsx", titled_sheet),
]

CELLS = [
    Case(
        "decimal commas",
        "a.csv",
        "x;z;y\n1,5;2;a\n2,25;3;b\n3,0;4;a\n4,75;5;b\n",
        {"x": [1.5, 2.25, 3, 4.75], "z": [2, 3, 4, 5]},
        list("abab"),
    ),
    Case(
        "decimal commas that are named",
        "a.csv",
        "x;y\n1,5;a\n2,25;b\n3;a\n",
        {"x": [1.5, 2.25, 3]},
        list("aba"),
        {"read": {"sep": ";", "decimal": ","}},
    ),
    Case(
        "dots between thousands and decimal commas",
        "a.csv",
        "x;y\n1.234,56;a\n12,5;b\n7,0;a\n8.000,1;b\n",
        {"x": [1234.56, 12.5, 7, 8000.1]},
        list("abab"),
    ),
    Case(
        "commas between thousands",
        "a.csv",
        'x,y\n"1,234",a\n"12,345,678",b\n999,a\n"5,000",b\n',
        {"x": [1234, 12345678, 999, 5000]},
        list("abab"),
    ),
    Case(
        "thousands that are named",
        "a.csv",
        'x,y\n"1,234",a\n"5,678",b\n',
        {"x": [1234, 5678]},
        list("ab"),
        {"read": {"thousands": ","}},
    ),
    Case(
        "money",
        "a.csv",
        'x,y\n"$1,234.50",a\n$5,b\n($20),a\n-$7.25,b\n',
        {"x": [1234.5, 5, -20, -7.25]},
        list("abab"),
    ),
    Case(
        "euros behind",
        "a.csv",
        "x;y\n1.234,50 €;a\n5,00 €;b\n20,10 €;a\n",
        {"x": [1234.5, 5, 20.1]},
        list("aba"),
    ),
    Case("per cent", "a.csv", "x,y\n5%,a\n12.5 %,b\n0%,a\n", {"x": [5, 12.5, 0]}, list("aba")),
    Case(
        "dots of SAS",
        "a.csv",
        "x,z,y\n1,.,a\n.,2,b\n3,3,a\n4,4,b\n",
        {"x": [1, NAN, 3, 4], "z": [NAN, 2, 3, 4]},
        list("abab"),
    ),
    Case(
        "dots that are named",
        "a.csv",
        "x,y\n1,a\n.,b\n3,a\n",
        {"x": [1, NAN, 3]},
        list("aba"),
        {"read": {"na_values": ["."]}},
    ),
    Case(
        "spaces of SPSS", "a.csv", "x,y\n1,a\n ,b\n3,a\n4,b\n", {"x": [1, NAN, 3, 4]}, list("abab")
    ),
    Case(
        "questions of UCI",
        "a.csv",
        "x,y\n1,a\n?,b\n3,a\n4,b\n",
        {"x": [1, NAN, 3, 4]},
        list("abab"),
    ),
    Case(
        "numbers for missing ones",
        "a.csv",
        "x,y\n1,a\n-999,b\n3,a\n-999.0,b\n",
        {"x": [1, NAN, 3, NAN]},
        list("abab"),
        {"missing": -999},
    ),
    Case(
        "a question as a category",
        "a.csv",
        "job,y\ncook,a\n?,b\ncook,a\n",
        {"job": ["cook", "?", "cook"]},
        list("aba"),
    ),
    Case(
        "a question that is missing",
        "a.csv",
        "job,y\ncook,a\n?,b\ncook,a\n",
        {"job": ["cook", NAN, "cook"]},
        list("aba"),
        {"missing": "?"},
    ),
    Case(
        "NA as pandas has it",
        "a.csv",
        "alley,y\nPave,1.5\nNA,2.5\nGrvl,3\n",
        {"alley": ["Pave", NAN, "Grvl"]},
        [1.5, 2.5, 3],
    ),
    Case(
        "NA that is a category",
        "a.csv",
        "alley,y\nPave,1.5\nNA,2.5\nGrvl,3\n",
        {"alley": ["Pave", "NA", "Grvl"]},
        [1.5, 2.5, 3],
        {"read": {"keep_default_na": False}},
    ),
    Case(
        "errors of Excel",
        "a.csv",
        "x,y\n1,a\n#DIV/0!,b\n3,a\n#VALUE!,b\n5,a\n",
        {"x": [1, NAN, 3, NAN, 5]},
        list("ababa"),
    ),
    Case(
        "infinite numbers",
        "a.csv",
        "x,y\n1,a\ninf,b\n-inf,a\n4,b\n",
        {"x": [1, NAN, NAN, 4]},
        list("abab"),
    ),
    Case(
        "scientific numbers",
        "a.csv",
        "x,y\n1e-3,a\n2.5E+10,b\n-3e5,a\n",
        {"x": [0.001, 2.5e10, -3e5]},
        list("aba"),
    ),
    Case(
        "true and false",
        "a.csv",
        "on,y\nTrue,a\nFalse,b\nTrue,a\n",
        {"on": [True, False, True]},
        list("aba"),
    ),
    Case(
        "TRUE and missing",
        "a.csv",
        "on,y\nTRUE,a\nFALSE,b\n,a\n",
        {"on": [True, False, NAN]},
        list("aba"),
    ),
    Case(
        "yes and no",
        "a.csv",
        "on,y\nYes,a\nNo,b\nYes,a\n",
        {"on": ["Yes", "No", "Yes"]},
        list("aba"),
    ),
    Case("0 and 1", "a.csv", "on,y\n0,a\n1,b\n1,a\n", {"on": [0, 1, 1]}, list("aba")),
    Case(
        "labels of true and false",
        "a.csv",
        "x,y\n1,True\n2,False\n3,True\n",
        {"x": [1, 2, 3]},
        ["true", "false", "true"],
    ),
    Case(
        "days of ISO",
        "a.csv",
        "d,y\n2024-01-31,a\n2024-02-01,b\n,a\n",
        {"d": ["2024-01-31", "2024-02-01", NAN]},
        list("aba"),
    ),
    Case(
        "times of ISO",
        "a.csv",
        "d,y\n2024-01-31T12:00:00Z,a\n2024-02-01T00:00:00Z,b\n",
        {"d": ["2024-01-31 12:00", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "times of SQL",
        "a.csv",
        "d,y\n2024-01-31 18:00:00,a\n2024-02-01 00:00:00,b\n",
        {"d": ["2024-01-31 18:00", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "days of America",
        "a.csv",
        "d,y\n01/31/2024,a\n2/1/2024,b\n",
        {"d": ["2024-01-31", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "days of Europe",
        "a.csv",
        "d,y\n31/01/2024,a\n1/2/2024,b\n",
        {"d": ["2024-01-31", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "days of Germany",
        "a.csv",
        "d;y\n31.01.2024;a\n1.2.2024;b\n",
        {"d": ["2024-01-31", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "days of SAS",
        "a.csv",
        "d,y\n31JAN2024,a\n01FEB2024,b\n",
        {"d": ["2024-01-31", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "days in words",
        "a.csv",
        'd,y\n"Jan 31, 2024",a\n"Feb 1, 2024",b\n',
        {"d": ["2024-01-31", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "days that are named",
        "a.csv",
        "d,y\n01/02/2024,a\n02/02/2024,b\n",
        {"d": ["2024-02-01", "2024-02-02"]},
        list("ab"),
        {"read": {"parse_dates": ["d"], "dayfirst": True}},
    ),
    Case(
        "times of Excel",
        "a.xlsx",
        lambda path: pd.DataFrame(
            {"d": pd.to_datetime(["2024-01-31 12:00", "2024-02-01 00:00"]), "y": ["a", "b"]}
        ).to_excel(path, index=False),
        {"d": ["2024-01-31 12:00", "2024-02-01"]},
        list("ab"),
    ),
    Case(
        "times of Parquet with zones",
        "a.parquet",
        lambda path: pd.DataFrame(
            {
                "d": pd.to_datetime(["2024-01-31 12:00", "2024-02-01 00:00"]).tz_localize(
                    "Europe/Berlin"
                ),
                "y": ["a", "b"],
            }
        ).to_parquet(path),
        {"d": ["2024-01-31 11:00", "2024-01-31 23:00"]},
        list("ab"),
    ),
    Case(
        "spans of Parquet",
        "a.parquet",
        lambda path: pd.DataFrame(
            {"d": pd.to_timedelta(["36h", "12h"]), "y": ["a", "b"]}
        ).to_parquet(path),
        {"d": [1.5, 0.5]},
        list("ab"),
    ),
    Case(
        "mixed texts and numbers",
        "a.csv",
        "size,y\n38,a\nXL,b\n40,a\nS,b\nXL,a\n",
        {"size": ["38", "XL", "40", "S", "XL"]},
        list("ababa"),
    ),
    Case(
        "mixed cells of Excel",
        "a.xlsx",
        lambda path: pd.DataFrame({"size": [38, "XL", 40, "S"], "y": list("abab")}).to_excel(
            path, index=False
        ),
        {"size": [38, "XL", 40, "S"]},
        list("abab"),
    ),
    Case(
        "codes beside names",
        "a.csv",
        "code,y\n01234,a\nA12,b\n01234,a\n",
        {"code": ["01234", "A12", "01234"]},
        list("aba"),
    ),
    Case(
        "codes of digits",
        "a.csv",
        "code,y\n01234,a\n04321,b\n01234,a\n",
        {"code": ["01234", "04321", "01234"]},
        list("aba"),
        {"read": {"dtype": {"code": "str"}}},
    ),
    Case(
        "numbers that are categories",
        "a.csv",
        "zip,y\n10115,a\n20095,b\n10115,a\n",
        {"zip": [10115, 20095, 10115]},
        list("aba"),
        {"categories": "zip"},
    ),
    Case(
        "long integers",
        "a.csv",
        "user,y\n9007199254740993,a\n9007199254740997,b\n9007199254740993,a\n",
        {"user": [9007199254740992.0, 9007199254740996.0, 9007199254740992.0]},
        list("aba"),
    ),
    Case(
        "a constant column",
        "a.csv",
        "c,x,y\n7,1,a\n7,2,b\n",
        {"c": [7, 7], "x": [1, 2]},
        list("ab"),
    ),
    Case(
        "two columns of one name",
        "a.csv",
        "x,x,y\n1,5,a\n2,6,b\n",
        {"x": [1, 2], "x.1": [5, 6]},
        list("ab"),
    ),
    Case(
        "spaces around names",
        "a.csv",
        " x , job ,y \n1,cook,a\n2,smith,b\n",
        {"x": [1, 2], "job": ["cook", "smith"]},
        list("ab"),
    ),
    Case(
        "names with commas and breaks",
        "a.csv",
        '"x, in m","job\nnow",y\n1,cook,a\n2,smith,b\n',
        {"x, in m": [1, 2], "job\nnow": ["cook", "smith"]},
        list("ab"),
    ),
    Case(
        "line breaks in cells",
        "a.csv",
        'job,y\n"cook,\nsmith",a\n"says ""no""",b\n"cook,\nsmith",a\n',
        {"job": ["cook,\nsmith", 'says "no"', "cook,\nsmith"]},
        list("aba"),
    ),
    Case(
        "quotes that are texts",
        "a.tsv",
        'job\tx\ty\n"cook\t1\ta\nsmith"\t2\tb\ncook\t3\ta\n',
        {"job": ['"cook', 'smith"', "cook"], "x": [1, 2, 3]},
        list("aba"),
    ),
    Case(
        "quotes behind spaces",
        "a.csv",
        'job, x, y\ncook, 1, "a, b"\nsmith, 2, "c, d"\n',
        {"job": ["cook", "smith"], "x": [1, 2]},
        ["a, b", "c, d"],
    ),
    Case(
        "adult of UCI",
        "adult.data",
        "39, State-gov, 77516, <=50K\n50, Private, 83311, >50K\n38, ?, 215646, <=50K\n",
        {"0": [39, 50, 38], "1": [" State-gov", " Private", " ?"], "2": [77516, 83311, 215646]},
        ["<=50K", ">50K", "<=50K"],
        {"read": {"header": None}},
        3,
    ),
    Case(
        "iris of UCI",
        "iris.data",
        "5.1,3.5,setosa\n7.0,3.2,virginica\n6.4,3.2,virginica\n",
        {"0": [5.1, 7, 6.4], "1": [3.5, 3.2, 3.2]},
        ["setosa", "virginica", "virginica"],
        {},
        2,
    ),
    Case(
        "wine of UCI",
        "wine.data",
        "1,14.2,1.7\n1,13.2,1.8\n2,12.3,2.4\n2,12.4,2.2\n",
        {"1": [14.2, 13.2, 12.3, 12.4], "2": [1.7, 1.8, 2.4, 2.2]},
        ["1", "1", "2", "2"],
        {},
        0,
    ),
    Case(
        "names for a file without",
        "a.data",
        "1,red,no\n2,blue,yes\n",
        {"x": [1, 2], "color": ["red", "blue"]},
        ["no", "yes"],
        {"read": {"names": ["x", "color", "y"]}},
    ),
    Case(
        "auto-mpg of UCI",
        "auto.data",
        '18.0   8   307.0      130.0\t"chevrolet"\n15.0   8   350.0      165.0\t"buick"\n18.5   8   318.0      ?\t"chevrolet"\n16.0   8   304.0      150.0\t"amc"\n',
        {
            "1": [8, 8, 8, 8],
            "2": [307, 350, 318, 304],
            "3": [130, 165, NAN, 150],
            "4": ["chevrolet", "buick", "chevrolet", "amc"],
        },
        [18, 15, 18.5, 16],
        {},
        0,
    ),
    Case(
        "white space of UCI",
        "seeds.txt",
        "15.26  14.84\t0.871   1\n14.88   14.57\t0.881   1\n13.84\t13.94   0.895   2\n16.14  14.99   0.903\t2\n",
        {
            "0": [15.26, 14.88, 13.84, 16.14],
            "1": [14.84, 14.57, 13.94, 14.99],
            "2": [0.871, 0.881, 0.895, 0.903],
        },
        ["1", "1", "2", "2"],
        {},
        3,
    ),
    Case(
        "two lines of names of credit",
        "credit.csv",
        ",X1,X2,Y\nID,LIMIT,AGE,default\n1,20000,24,1\n2,120000,26,0\n3,90000,34,0\n4,50000,37,1\n",
        {"ID": [1, 2, 3, 4], "LIMIT": [20000, 120000, 90000, 50000], "AGE": [24, 26, 34, 37]},
        ["1", "0", "0", "1"],
        {},
        "default",
    ),
    Case(
        "two lines of names that are told",
        "credit.csv",
        ",X1,Y\nID,LIMIT,default\n1,20000,1\n2,120000,0\n3,90000,0\n4,50000,1\n",
        {"ID": [1, 2, 3, 4], "LIMIT": [20000, 120000, 90000, 50000]},
        ["1", "0", "0", "1"],
        {"read": {"header": 1}},
        "default",
    ),
    Case(
        "telecom churn",
        "churn.csv",
        "customerID,tenure,TotalCharges,y\n7590-VHVEG,1,29.85,No\n5575-GNVDE,34,1889.5,No\n3668-QPYBK,0, ,Yes\n7795-CFOCW,45,1840.75,No\n",
        {
            "customerID": ["7590-VHVEG", "5575-GNVDE", "3668-QPYBK", "7795-CFOCW"],
            "tenure": [1, 34, 0, 45],
            "TotalCharges": [29.85, 1889.5, NAN, 1840.75],
        },
        ["No", "No", "Yes", "No"],
    ),
    Case(
        "wine quality",
        "w.csv",
        '"fixed acidity";"alcohol";"quality"\n7.4;9.4;5\n7.8;9.8;6\n11.2;9.8;5\n7.4;9.4;6\n',
        {"fixed acidity": [7.4, 7.8, 11.2, 7.4], "alcohol": [9.4, 9.8, 9.8, 9.4]},
        ["5", "6", "5", "6"],
        {},
        "quality",
    ),
    Case(
        "Latin-1, which is named",
        "a.csv",
        "job,y\nKöchin,a\nMüller,b\n".encode("latin-1"),
        {"job": ["Köchin", "Müller"]},
        list("ab"),
        {"read": {"encoding": "latin-1"}},
    ),
    Case(
        "Western Windows",
        "a.csv",
        "job,x,y\nKöchin,1,a\nMüller,2,b\n€,3,a\n".encode("cp1252"),
        {"job": ["Köchin", "Müller", "€"], "x": [1, 2, 3]},
        list("aba"),
    ),
    Case(
        "Cyrillic Windows, which is named",
        "a.csv",
        "job,y\nповар,a\nкузнец,b\n".encode("cp1251"),
        {"job": ["повар", "кузнец"]},
        list("ab"),
        {"read": {"encoding": "cp1251"}},
    ),
    Case(
        "Japanese, which is named",
        "a.csv",
        "job,y\n料理人,a\n鍛冶屋,b\n".encode("shift_jis"),
        {"job": ["料理人", "鍛冶屋"]},
        list("ab"),
        {"read": {"encoding": "shift_jis"}},
    ),
    Case(
        "Korean, which is named",
        "a.csv",
        "job,y\n요리사,a\n대장장이,b\n".encode("euc_kr"),
        {"job": ["요리사", "대장장이"]},
        list("ab"),
        {"read": {"encoding": "euc_kr"}},
    ),
    Case(
        "Chinese in UTF-8",
        "a.csv",
        "工作,y\n厨师,a\n铁匠,b\n",
        {"工作": ["厨师", "铁匠"]},
        list("ab"),
    ),
    Case(
        "labels with gaps",
        "a.csv",
        "x,y\n1,\n2,b\n3,a\n4,b\n",
        {"x": [1, 2, 3, 4]},
        [NAN, "b", "a", "b"],
    ),
    Case(
        "classes with decimals of pandas",
        "a.csv",
        "x,y\n1,0.0\n2,1.0\n3,\n4,1.0\n5,0.0\n",
        {"x": [1, 2, 3, 4, 5]},
        ["0", "1", NAN, "1", "0"],
    ),
    Case(
        "integers that are values",
        "a.csv",
        "x,y\n1,310\n2,20\n3,41\n4,7\n",
        {"x": [1, 2, 3, 4]},
        [310, 20, 41, 7],
    ),
    Case(
        "integers that are classes",
        "a.csv",
        "x,y\n1,310\n2,20\n3,41\n",
        {"x": [1, 2, 3]},
        ["310", "20", "41"],
        {"kind": "classes"},
    ),
    Case(
        "money as labels",
        "a.csv",
        "x,y\n" + "".join(f'{at},"${at + 1},{at:03}"\n' for at in range(24)),
        {"x": list(range(24))},
        [(at + 1) * 1000 + at for at in range(24)],
        {"columns": "x"},
    ),
    Case(
        "a column called env",
        "a.csv",
        "env,x,y\ndev,1,a\ntest,2,b\ndev,3,a\n",
        {"env": ["dev", "test", "dev"], "x": [1, 2, 3]},
        list("aba"),
    ),
    Case(
        "one category of each row's own",
        "a.csv",
        "job,x,y\ncook,1,a\ncook,2,b\nking,3,a\n",
        {"job": ["cook", "cook", "king"], "x": [1, 2, 3]},
        list("aba"),
    ),
]


def written(case, folder):
    path = folder / case.file
    if callable(case.content):
        case.content(path)
    else:
        data = case.content.encode() if isinstance(case.content, str) else case.content
        path.write_bytes(data)
    return str(path)


def cells_of(column, values):
    """Return encoded cells as the cases have them: numbers, categories by value, days as texts."""
    if column.kind == "category":
        return [NAN if np.isnan(each) else column.categories[int(each)] for each in values]
    if column.kind == "number":
        return [NAN if np.isnan(each) else each for each in values]
    days = [NAN if np.isnan(each) else pd.Timestamp(0) + pd.Timedelta(days=each) for each in values]
    return [each and str(each.round("s"))[: 16 if each.hour else 10] for each in days]


@pytest.mark.parametrize("case", SEPARATED + CELLS, ids=lambda case: case.id)
def test_table_is_read_as_it_is_meant(tmp_path, case):
    options = {"train": written(case, tmp_path), "label": case.label, **case.options}
    splits = load_data("data", options)
    rows, labels = splits.train[:]
    used = splits.columns.inputs.columns
    found = {each.name: cells_of(each, rows[:, at].tolist()) for at, each in enumerate(used)}
    assert found == case.columns
    if splits.kind == "classes":
        names = [NAN if each < 0 else splits.classes[each] for each in labels.tolist()]
    else:
        names = [
            NAN if np.isnan(each) else each for each in labels.double().round(decimals=4).tolist()
        ]
    assert names == pytest.approx(case.labels) if splits.kind == "values" else names == case.labels


@pytest.mark.parametrize("case", SEPARATED + CELLS, ids=lambda case: case.id)
def test_a_teacher_gets_the_table_of_pandas(tmp_path, case):
    """The frame of encoded rows is that of pandas, also in its dtypes and in what is not used."""
    splits = load_data(
        "data", {"train": written(case, tmp_path), "label": case.label, **case.options}
    )
    frame = splits.columns.frame(splits.train[:][0])
    again, content = splits.examples(written(case, tmp_path))
    assert list(frame.columns) == [
        each for each in content.columns if str(each).strip() != str(case.label)
    ]
    for name in frame.columns:
        own = content[name]
        if case.id == "infinite numbers":
            own = own.replace([np.inf, -np.inf], np.nan)
        elif case.id == "errors of Excel":  # one is given for all
            own = own.replace("#VALUE!", "#DIV/0!")
        marks = own.isna().sum() == 0 and frame[name].isna().sum() == 0
        assert frame[name].dtype == own.dtype or not marks
        pd.testing.assert_series_equal(frame[name], own, check_dtype=False, check_index=False)
    assert len(again) == len(splits.train)


def rows_of(number, **columns):
    return pd.DataFrame(columns, index=range(number)).to_csv(index=False)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("PassengerId", list(range(1, 31)), "identifier"),
        ("customer_id", [7919 * at % 1009 for at in range(30)], "identifier"),
        ("Name", [f"Braund, Mr. Owen {at}" for at in range(30)], "a different text in each row"),
        ("key", [f"7590-{at:04}" for at in range(30)], "a different text in each row"),
        ("nothing", [None] * 30, "no values"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_no_input_and_told_once(tmp_path, name, values, why):
    columns = {name: values, "x": [at * 7 % 5 + 0.5 for at in range(30)], "y": ["a", "b", "b"] * 10}
    (tmp_path / "a.csv").write_text(rows_of(30, **columns))
    options = {"train": str(tmp_path / "a.csv"), "label": "y"}
    splits = load_data("data", options)
    assert splits.columns.inputs.names == ("x",)
    assert splits.warnings == (
        f"not inputs: {name!r} ({why}); list inputs in `columns` to use them",
    )
    assert set(splits.columns.frame(splits.train[:][0]).columns) == {name, "x"}
    named = load_data("data", {**options, "columns": [name, "x"]})
    assert named.columns.inputs.names == (name, "x")


def test_free_text_is_no_input_of_a_table_but_the_input_where_it_is_named(tmp_path):
    texts = [f"a good film number {at // 2 if at < 10 else at}" for at in range(120)]
    (tmp_path / "a.csv").write_text(rows_of(120, text=texts, x=range(5, 125), y=["a", "b"] * 60))
    options = {"train": str(tmp_path / "a.csv"), "label": "y"}
    assert load_data("data", options).columns.inputs.names == ("x",)
    assert load_data("data", {**options, "text": "text"}).train[1][0] == texts[1]


def test_counts_are_values_and_few_integers_are_classes(tmp_path):
    for number, kind in ((41, "values"), (20, "classes"), (3, "classes")):
        labels = [at % number for at in range(400)]
        (tmp_path / "a.csv").write_text(
            rows_of(400, x=[at * 7 % 11 for at in range(400)], y=labels)
        )
        splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
        assert splits.kind == kind
    (tmp_path / "a.csv").write_text(rows_of(400, x=1, y=[at % 41 for at in range(400)]))
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
    assert "41 different integers; kind: classes if they are classes" in splits.described


@pytest.mark.parametrize(
    ("file", "content", "label", "expected"),
    [
        ("a.csv", BASE, "Y2", r"`label`: 'Y2' \(.*'y'"),
        ("a.csv", "5.1,3.5,setosa\n7.0,3.2,virginica\n", "species", "read: {header: null}"),
        (
            "a.csv",
            "作業,y\n料理,a\n鍛冶,b\n".encode("shift_jis"),
            "y",
            "encoding: …}, such as cp1251",
        ),
        ("a.zip", zipped(BASE, others=["b.csv"]), "y", "must hold one table, got a.csv, b.csv"),
        ("a.xlsx", b"PK", "y", "must be a table that pandas can read"),
        ("a.pages", b"?", "y", "must be a table"),
        ("a.csv", b"", "y", "must be a table|at least one row"),
        ("a.csv", "x,y\n", "y", "at least one row"),
        ("a.csv", "x,y\n1,2\n" + "1,2,3\n" * 20 + "1,2\n" * 20, "y", "Expected 2 fields"),
    ],
)
def test_what_cannot_be_read_ends_in_two_lines_with_the_way_out(
    tmp_path, file, content, label, expected
):
    case = Case("", file, content, {}, [])
    with pytest.raises(DataError, match=expected) as caught:
        load_data("data", {"train": written(case, tmp_path), "label": label})
    assert len(str(caught.value)) < 500


def test_all_names_of_columns_that_do_not_exist_are_told_at_once(tmp_path):
    (tmp_path / "a.csv").write_text(BASE)
    options = {"train": str(tmp_path / "a.csv"), "label": "yy", "omit": "colour", "domain": "site"}
    with pytest.raises(DataError, match=r"'yy'.*'site'.*'colour'"):
        load_data("data", options)


def test_a_few_rows_with_too_many_cells_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.csv").write_text(BASE + "4,red,no,more\n5,red,no\n")
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
    assert len(splits.train) == 5
    assert "1 rows of a.csv with too many cells are left out" in splits.warnings


def test_how_a_file_was_read_is_told(tmp_path):
    (tmp_path / "a.csv").write_bytes("x;job;y\n1,5;Köchin;a\n2,5;Müller;b\n".encode("cp1252"))
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
    assert "a.csv has ';' between its cells; a.csv has commas before decimals" in splits.described
    assert "was read as cp1252 (Western Europe), such as 'Köchin', 'Müller'" in splits.warnings[0]


def test_days_that_can_be_read_in_two_ways_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("d,y\n1/2/2024,a\n3/4/2024,b\n")
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
    assert splits.columns.columns[0].form == "%m/%d/%Y"
    assert "'d' was read as dates %m/%d/%Y, and can be read as %d/%m/%Y" in splits.warnings[0]


def test_numbers_that_are_written_as_texts_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n$1,a\n?,b\n$3,a\n")
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
    assert splits.warnings[0].startswith("read as numbers: 'x' (such as '$1'; missing where '?')")


def test_dots_that_may_be_between_thousands_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("x;y\n1.234;a\n2.500;b\n900;a\n")
    options = {"train": str(tmp_path / "a.csv"), "label": "y"}
    assert "if the dots are between thousands" in load_data("data", options).warnings[0]
    named = load_data("data", {**options, "read": {"thousands": "."}})
    assert named.train[:][0][:, 0].tolist() == [1234, 2500, 900]
    assert not named.warnings
