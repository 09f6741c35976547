"""The demo's report: that of its study, with an introduction and a description of the method."""

from __future__ import annotations

from dataclasses import replace

from tutelage.demo.data import TRAIN_IMAGES
from tutelage.demo.settings import BATCH_SIZE, LABELLED, TEACHER_LEARNING_RATE, DemoSettings
from tutelage.reports import Column, Page, Record, Section, Table
from tutelage.reports.numbers import count
from tutelage.reports.report import record_page


def demo_page(results: Record, settings: DemoSettings) -> Page:
    """Return the report of a demo."""
    page, warning = record_page(results), ""
    if settings.quick:
        warning = (
            "This is a quick look with fewer seeds and steps than the full demo; its intervals are "
            "wide. Run it without --quick for reliable numbers."
        )
    return replace(
        page,
        lead=(
            "Handwritten digits, one teacher, and one small student trained by three methods: from "
            f"{LABELLED} labels only, with a teacher, and with a teacher and "
            f"{count(TRAIN_IMAGES - LABELLED)} more images that nobody labelled for it."
        ),
        warning=warning or page.warning,
        sections=(_idea(results), *page.sections, _method(results, settings)),
    )


def _idea(results: Record) -> Section:
    return Section(
        "What distillation is",
        (
            "Distillation trains a small model, the student, on what a large trained model, the "
            "teacher, predicts: not only which digit it is, but how likely each of the ten is. A "
            "label says “this is a 3”; a teacher's prediction also tells how much the 3 resembles "
            "an 8 or a 9, and there is one for images without a label as well.",
        ),
        Table(
            "What each model learnt from",
            (Column("Model", numeric=False), Column("Learns from", numeric=False)),
            (
                ("teacher", f"{count(TRAIN_IMAGES)} labelled images"),
                *((arm.name, arm.learns_from) for arm in results.arms),
            ),
            sortable=False,
        ),
    )


def _method(results: Record, settings: DemoSettings) -> Section:
    train, epochs = count(TRAIN_IMAGES), settings.teacher_epochs
    return Section(
        "What was done",
        (
            "The data are the handwritten digits that come with scikit-learn, scanned at 8 × 8 "
            f"pixels. {train} of them are for training, the other "
            f"{count(results.examples['test'])} are the test: they are held out and used only for "
            "the final metrics.",
            f"The teacher learnt from all {train} training images and their labels, in "
            f"{'one pass' if epochs == 1 else f'{epochs} passes'} with AdamW at a rate of "
            f"{TEACHER_LEARNING_RATE:g} that falls along a cosine. It has seen the labels "
            "of images that are unlabelled for the student, and its predictions for them pass on "
            "what it learnt from these labels.",
            f"For each seed, {LABELLED} training images are drawn that keep their label, the same "
            "fraction of every digit. All three students of a seed begin with the same weights and "
            f"take the same {count(settings.steps)} optimiser steps of {BATCH_SIZE} "
            "images, with the same optimiser and schedule. The labels of the other images never "
            "reach a student.",
            "The full demo's learning rate, weight decay and number of steps are those at which "
            "the student trained on labels only did best on a held-out part of the training "
            "images; the distilled students take them as they are. Since nothing changes the "
            "training images, the teacher predicts each of them once. Each training and "
            "each measurement ran on one CPU thread.",
        ),
    )
