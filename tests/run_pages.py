"""Data of small runs, and what their pages say."""

import re

import torch
from torch.utils.data import TensorDataset

INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS[:, 0] > 0).long()
VALUES = INPUTS[:, :1] * 2
LABELLED, UNLABELLED = TensorDataset(INPUTS, CLASSES), TensorDataset(INPUTS)


def report(tmp_path, run):
    path = run.report(tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    return path.read_text(encoding="utf-8")


def verdict(html):
    box = html.split('id="verdict">Verdict</h2>')[1].split("</section")[0]
    return " ".join(re.findall(r"<p[^>]*>(.*)</p>", box)).replace("\xa0", " ")


def rows(html, section):
    """Return the cells of the models in a section's table, by model and column."""
    table = html.split(f">{section}</h2>")[1].split("<table")[1].split("</table")[0]
    text = table.replace("\xa0", " ")
    heads = re.findall(r'<th scope="col"[^>]*>(?:<button[^>]*>)?([^<]*?)\s*<', text)
    found = re.findall(r'<th scope="row">([^<]*)</th>\n((?:<td.*\n)+)', text)
    return {
        name: dict(zip(heads[1:], re.findall(r">([^<]*)</td>", cells), strict=True))
        for name, cells in found
    }
