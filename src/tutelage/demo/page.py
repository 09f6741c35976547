"""The demo's page: verdict, table, figures, and what it takes to repeat it."""

from __future__ import annotations

from tutelage.demo.page_figures import curves_section, outcome_section, resemblance_section
from tutelage.demo.results import DemoResults
from tutelage.demo.rows import models_table
from tutelage.demo.verdict import verdict
from tutelage.reports import Column, Highlight, Page, Section, Table
from tutelage.reports.numbers import count, points, times


def demo_page(results: DemoResults) -> Page:
    """Return the page of a demo."""
    images = results.images
    return Page(
        title="What a small model learns from a large one",
        lead=(
            "Handwritten digits, one teacher, and one small student taught three ways: from "
            f"{count(images['labelled'])} labels alone, with a teacher, and with a teacher and "
            f"{count(images['unlabelled'])} more images that nobody labelled for it."
        ),
        warning=_warning(results),
        verdict=verdict(results),
        highlights=_highlights(results),
        sections=(
            _comparison(results),
            outcome_section(results),
            curves_section(results),
            resemblance_section(results),
            _method(results),
            _settings(results),
        ),
        footer=f"Made by tutelage {results.versions['tutelage']} in {results.seconds:.0f} seconds.",
    )


def _warning(results: DemoResults) -> str:
    if not results.settings["quick"]:
        return ""
    return (
        "This is a quick look with fewer seeds and steps than the full demo; its intervals are "
        "wide. Run it without --quick for figures to rely on."
    )


def _highlights(results: DemoResults) -> tuple[Highlight, ...]:
    teacher, student = results.teacher, results.student_size
    gain, best = results.comparisons[-1].interval, results.arms[-1].accuracy
    one, many = (
        ours.median / theirs.median
        for ours, theirs in zip(teacher.size.timings, student.timings, strict=True)
    )
    sizes = f"{count(teacher.size.parameters)} in the teacher, {count(student.parameters)} in it"
    batch = student.timings[-1].batch_size
    return (
        Highlight(
            f"{points(gain.mean)} points",
            "accuracy of the student with teacher and unlabelled images, against labels alone",
        ),
        Highlight(
            f"{points(best.mean - teacher.accuracy.mean)} points",
            "accuracy of that student, against the teacher",
        ),
        Highlight(
            times(teacher.size.parameters / student.parameters),
            f"fewer parameters in the student: {sizes}",
        ),
        Highlight(
            f"{times(one)} / {times(many)}",
            f"the teacher's time per image as a multiple of the student's: one at a time / {batch} "
            "at a time",
        ),
    )


def _comparison(results: DemoResults) -> Section:
    return Section(
        "Teacher and students",
        (
            "Distillation trains a small model, the student, on what a large trained model, the "
            "teacher, says: not only which digit it sees, but how likely it finds each of the ten. "
            "A teacher can say that of images without a label as well.",
        ),
        models_table(results),
    )


def _method(results: DemoResults) -> Section:
    images, settings = results.images, results.settings
    train, labelled = count(images["train"]), count(images["labelled"])
    return Section(
        "What was done",
        (
            f"The data are the handwritten digits that come with scikit-learn, scanned at 8 × 8 "
            f"pixels. {train} of them are for training, the other {count(images['test'])} are the "
            "test: they decided nothing and are used only for the final figures.",
            f"The teacher learnt from all {train} training images and their labels. What it says "
            "of images that are unlabelled for the student draws on labels that it has seen "
            "itself: this is how knowledge gets from it to a student that does not see them.",
            f"For each seed, {labelled} training images are drawn that keep their label, the same "
            "share of every digit. All three students of a seed begin with the same weights and "
            f"take the same {count(settings['steps'])} optimiser steps of {settings['batch_size']} "
            "images, with the same optimiser and schedule. The labels of the other images never "
            "reach a student.",
            "The full demo's learning rate, weight decay and number of steps are those at which "
            "the student from labels alone did best on a held-out part of the training images; "
            "the distilled students take them as they are. All models ran on one processor "
            "thread.",
        ),
        Table(
            "What each model learnt from",
            (Column("Model", numeric=False), Column("Learns from", numeric=False)),
            (
                ("Teacher", f"{train} labelled images"),
                *((arm.name, arm.learns_from) for arm in results.arms),
            ),
        ),
    )


def _settings(results: DemoResults) -> Section:
    names = {name: name.replace("_", " ") for name in results.settings}
    settings = tuple((names[key], _plain(value)) for key, value in results.settings.items())
    seeds = ", ".join(map(str, range(results.settings["seeds"])))
    rows = (
        ("objective of the distilled students", results.objective),
        ("objective of teacher and control", "HardLabels()"),
        ("optimiser", "AdamW, its rate falling to 0 along a cosine"),
        ("seeds used", seeds),
        *settings,
        *results.versions.items(),
    )
    return Section(
        "To repeat it",
        ("The same command on the same machine gives the same accuracies; times vary.",),
        Table(
            "All settings and versions",
            (Column("Setting", numeric=False), Column("Value", numeric=False)),
            rows,
        ),
        code=results.command,
    )


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
