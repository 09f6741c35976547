"""The demo as the shell runs it: the study, a table on the terminal, and a report in a folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as ScreenTable

from tutelage.demo.digits import BATCH_SIZE, TEACHER_LEARNING_RATE, TRAIN_IMAGES
from tutelage.demo.run import ALL_LABELS, LABELLED, MORE_IMAGES, DemoSettings, run_demo
from tutelage.errors import RunFolderError
from tutelage.files import writing
from tutelage.reports.numbers import NONE, count, counted, file_size, milliseconds, signed
from tutelage.reports.page import Page, Section, Table, check_path, write_report
from tutelage.reports.report import record_page
from tutelage.reports.sections.outcome import mean_text
from tutelage.reports.verdict import verdict
from tutelage.results.record import Record, write_record


def show_demo(settings: DemoSettings, out: Path) -> Record:
    """Run the demo, print its table and verdict, write `results.json` and the report to a folder.

    That these can be written is made sure before any work is done.
    """
    page = out / "report.html"
    with writing(out, RunFolderError):
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(f"{out} is not to be written")
    check_path(page)
    on_screen = Console(stderr=True)
    if on_screen.is_terminal:
        on_screen.print("Training the teacher, then its students", style="dim")
    results = run_demo(settings, progress=True)
    write_record(results, out / "results.json")
    write_report(demo_page(results, settings), page, results)
    console = Console()
    show(results, settings, console)
    files = f"\nReport: {page}\nResults as JSON: {out / 'results.json'}"
    console.print(files, highlight=False, soft_wrap=True)
    return results


def what_each_saw(results: Record) -> str:
    """Return what the gain rests on: the labels that the teacher saw, and the students did not."""
    primary, whole = results.arm(MORE_IMAGES), results.arm(ALL_LABELS)
    more = fmean(primary.values("accuracy")) - fmean(whole.values("accuracy"))
    return (
        f"The teacher learnt from the labels of all {count(TRAIN_IMAGES)} training images, the "
        f"controls from {LABELLED} of them: what is distilled is what those labels taught the "
        f"teacher. The same student trained on all {count(TRAIN_IMAGES)} labels reaches "
        f"{100 * fmean(whole.values('accuracy')):.1f} %, so that distillation adds "
        f"{signed(100 * more)} points to the labels that the teacher saw."
    )


def show(results: Record, settings: DemoSettings, console: Console) -> None:
    """Print the table of models and the verdict."""
    title = "Handwritten digits: one teacher, and one small student trained in several ways"
    if settings.quick:
        title += "\nThis is a quick look with fewer seeds and steps, not the full demo."
    threads = counted(int(results.versions["threads"]), "CPU thread")
    note = (
        f"± is the 95 % interval over {len(results.seeds)} seeds (another draw of the labelled "
        f"images and other first weights) and {results.examples['test']} test images. There is one "
        f"teacher, and so no such interval. Times are medians on {threads}, teacher and student in "
        "turns; the students are one architecture, so one of them was timed."
    )
    table = ScreenTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    found = rows(results)
    table.add_column("Model", vertical="top")
    for head in [*found[0]][1:]:
        name, *units = head.split("\n")
        heading = "\n".join([name, *(f"[dim]{each}[/dim]" for each in units)])
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for row in found:
        style = "bold" if row["Model"] == results.primary else None
        table.add_row(*row.values(), style=style)
    console.print(f"\n{title}", style="bold", highlight=False)
    console.print(table)
    console.print(f"\n[dim]{note}[/dim]\n", highlight=False)
    console.print(verdict(results), style="bold", highlight=False)
    console.print(f"\n{what_each_saw(results)}", highlight=False)


def rows(results: Record) -> list[dict[str, str]]:
    """Return each model's accuracy, agreement with the teacher, size and times, by heads."""
    found = []
    for arm in results.judged().values():
        model = results.models[arm.model]
        found.append({
            "Model": arm.name,
            "Accuracy\n% of test\nimages": mean_text(results, arm, "accuracy", 1),
            "Agreement\n% with\nteacher": mean_text(results, arm, "agreement", 1),
            "Parameters": NONE if model.cost is None else count(model.cost.parameters),
            "File": NONE if model.cost is None else file_size(model.cost.file_bytes),
            **{
                f"Batch {each.batch_size}\nms per\nimage": milliseconds(each.per_input)
                for each in model.latencies
            },
        })  # fmt: skip
    return found


def demo_page(results: Record, settings: DemoSettings) -> Page:
    """Return the demo's report: that of its study, with an introduction and the method."""
    page, warning = record_page(results), ""
    if settings.quick:
        warning = (
            "This is a quick look with fewer seeds and steps than the full demo; its intervals are "
            "wide. Run it without --quick for reliable numbers."
        )
    return replace(
        page,
        lead=(
            f"Handwritten digits, a teacher that learnt from {count(TRAIN_IMAGES)} labels, and one "
            f"small student: trained on {LABELLED} of these labels only, with the teacher, with "
            f"the teacher and {count(TRAIN_IMAGES - LABELLED)} more images that nobody labelled "
            f"for it, and on all {count(TRAIN_IMAGES)} labels."
        ),
        warning=warning or page.warning,
        sections=(_idea(results), *page.sections, _method(results, settings)),
    )


def _idea(results: Record) -> Section:
    train, more = count(TRAIN_IMAGES), count(TRAIN_IMAGES - LABELLED)
    sources = {
        "teacher": f"{train} labelled images",
        **{arm.name: arm.learns_from for arm in results.arms},
        "labels": f"{LABELLED} labelled images",
        "smoothed labels": f"the same {LABELLED}, their labels smoothed by 0.1",
        f"labels, same data as {MORE_IMAGES}": (
            f"the same {LABELLED}; the {more} images without labels fill its batches too, and it "
            "learns nothing from them"
        ),
    }
    return Section(
        "What distillation is",
        (
            "Distillation trains a small model, the student, on what a large trained model, the "
            "teacher, predicts: not only which digit it is, but how likely each of the ten is. A "
            "label says “this is a 3”; a teacher's prediction also tells how much the 3 resembles "
            "an 8 or a 9, and there is one for images without a label as well.",
            what_each_saw(results),
        ),
        Table(
            "What each model learnt from",
            [[("Model", name), ("Learns from", source)] for name, source in sources.items()],
            "The first three students are controls: they learn without the teacher.",
        ),
    )


def _method(results: Record, settings: DemoSettings) -> Section:
    train, epochs = count(TRAIN_IMAGES), counted(settings.teacher_epochs, "epoch")
    return Section(
        "What was done",
        (
            "The data are the handwritten digits that come with scikit-learn, scanned at 8 × 8 "
            f"pixels. {train} of them are for training, the other "
            f"{count(results.examples['test'])} are the test: they are held out and used only for "
            "the final metrics.",
            f"The teacher learnt from all {train} training images and their labels, in {epochs} "
            f"with AdamW at a rate of {TEACHER_LEARNING_RATE:g} that falls along a cosine. It has "
            "seen the labels of images that are unlabelled for the student, and its predictions "
            "for them pass on what it learnt from these labels.",
            f"For each seed, {LABELLED} training images are drawn that keep their label, the same "
            "fraction of every digit. All students of a seed begin with the same weights and "
            f"take the same {count(settings.steps)} optimizer steps of {BATCH_SIZE} "
            "images, with the same optimizer and schedule. The labels of the other images reach "
            f"only the student of “{ALL_LABELS}”, which is there to compare with. The controls are "
            "those that every study has.",
            "The full demo's learning rate, weight decay and number of steps are those at which "
            f"the student trained on {LABELLED} labels did best on a held-out part of the training "
            "images; all others take them as they are. Each training and each measurement ran on "
            "one CPU thread.",
        ),
    )
