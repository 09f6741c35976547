"""The figures of the demo's page, each with what it says."""

from __future__ import annotations

from statistics import fmean

from tutelage.demo.data import CLASSES
from tutelage.demo.results import ArmResult, DemoResults
from tutelage.demo.rows import TEACHER
from tutelage.reports import Figure, Section
from tutelage.reports.figures import (
    Curve,
    Mark,
    curves,
    heat_map,
    paired,
    shared_range,
    trade_off,
)
from tutelage.reports.numbers import count

_ACCURACY = "accuracy on test images, %"


def outcome_section(results: DemoResults) -> Section:
    """Return accuracy seed by seed, and accuracy against time."""
    return Section(
        "What is gained, and what it costs",
        figures=(_seed_by_seed(results), _against_time(results)),
    )


def curves_section(results: DemoResults) -> Section:
    """Return the training losses over steps."""
    labelled = count(results.images["labelled"])
    temperature = results.resemblance.temperature
    hard = _curves(results, "hard_labels")
    soft = _curves(results, "soft_targets")
    return Section(
        "How the students learn",
        figures=(
            Figure(
                curves("hard", hard, "cross-entropy (log scale)", log=True),
                "Error on the labels",
                f"Training loss on the {labelled} labelled images: 0 means every label is given "
                "with certainty. The lowest curve need not be the best student: it is possible to "
                "learn labels by heart and still misread new images.",
            ),
            Figure(
                curves("soft", soft, f"T² · KL at T = {temperature:g} (log scale)", log=True),
                "Distance from the teacher",
                "Training loss against the teacher's softened probabilities, on the images each "
                "student trains on; the student from labels alone never sees them. A larger set of "
                "images is harder to fit; whether it makes the better student, the test tells.",
            ),
        ),
        caption=(
            "Both are measured on training data while training; no test image is involved. Lines "
            "are means over seeds, the shading reaches from the least to the greatest seed. All "
            "students take the same number of steps."
        ),
    )


def resemblance_section(results: DemoResults) -> Section:
    """Return the mean soft targets of teacher and student."""
    found = results.resemblance
    classes = [str(each) for each in range(CLASSES)]
    limits = shared_range(found.teacher, found.student)
    best = results.arms[-1].name
    figures = tuple(
        Figure(
            heat_map(name, matrix, classes, limits, _alike(title, matrix)),
            title,
        )
        for name, title, matrix in (
            ("alike-teacher", TEACHER, found.teacher),
            ("alike-student", f"Student: {best.lower()}", found.student),
        )
    )
    return Section(
        "Which digits look alike to them",
        (
            "A label says “this is a 3”. A teacher also says how much the 3 resembles an 8 "
            "or a 9, and that is what a student can learn from it beyond the label.",
        ),
        figures=figures,
        caption=(
            f"Mean probability in per cent that test images of each digit (row) are given for each "
            f"other digit (column), softened at temperature {found.temperature:g}; yellow is more, "
            "and the colour scale, which is logarithmic, is the same in both. The diagonal, the "
            "digit itself, is left without colour so that the rest can be seen. The student's is "
            "the mean over its seeds."
        ),
    )


def _seed_by_seed(results: DemoResults) -> Figure:
    columns = [(arm.name.replace(", ", ",\n"), arm.accuracies) for arm in results.arms]
    looks = range(1, len(columns) + 1)
    return Figure(
        paired("seeds", columns, _ACCURACY, looks),
        "Seed by seed",
        "Each thin line is one seed: the same labelled images and the same first weights, taught "
        "three ways. Bars are means. The verdict rests on these differences, not on the spread "
        "between seeds.",
    )


def _against_time(results: DemoResults) -> Figure:
    quality = results.teacher.accuracy
    (one, *_), (teachers, *_) = results.student_size.timings, results.teacher.size.timings
    marks = [Mark(TEACHER, teachers.per_input * 1000, quality.mean, quality.low, quality.high, 0)]
    marks += [
        Mark(
            arm.name,
            one.per_input * 1000,
            arm.accuracy.mean,
            arm.accuracy.low,
            arm.accuracy.high,
            look,
        )
        for look, arm in enumerate(results.arms, start=1)
    ]
    return Figure(
        trade_off("time", marks, _ACCURACY),
        "Accuracy against time for one image",
        "Up is more accurate, left is faster. Bars are 95 % intervals: over seeds for students, "
        "over test images for the one teacher. The three students take the same time and are drawn "
        "side by side only so that their bars can be told apart.",
    )


def _curves(results: DemoResults, part: str) -> list[Curve]:
    return [
        _curve(arm, part, look)
        for look, arm in enumerate(results.arms, start=1)
        if part in arm.histories[0].losses
    ]


def _curve(arm: ArmResult, part: str, look: int) -> Curve:
    passes = list(zip(*(history.losses[part] for history in arm.histories), strict=True))
    return Curve(
        arm.name,
        arm.histories[0].steps,
        [fmean(values) for values in passes],
        [min(values) for values in passes],
        [max(values) for values in passes],
        look,
    )


def _alike(title: str, matrix: tuple[tuple[float, ...], ...]) -> str:
    """Say in words what a map shows: for each digit the one it is taken for most."""
    likest = (
        f"{digit}: {max((share, other) for other, share in enumerate(row) if other != digit)[1]}"
        for digit, row in enumerate(matrix)
    )
    return f"{title}, the digit that each digit resembles most. {', '.join(likest)}."
