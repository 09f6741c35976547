import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation import mean_average_precision

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # as COCO makes them: IoUs may equal one


def boxes(*corners):
    return torch.tensor(np.array(corners), dtype=torch.float64).reshape(-1, 4)


def found(corners, scores, labels):
    return {
        "boxes": boxes(*corners),
        "scores": torch.tensor(scores, dtype=torch.float64),
        "labels": torch.tensor(labels, dtype=torch.long),
    }


def true(corners, labels, **also):
    return {"boxes": boxes(*corners), "labels": torch.tensor(labels, dtype=torch.long), **also}


def random_scene(seed, images=4, classes=2, crowds=False):
    """Boxes on a coarse grid with coarse scores, so that IoUs and scores tie."""
    draw = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(images):
        truths, detections = draw.integers(0, 5), draw.integers(0, 9)
        low = draw.integers(0, 12, (truths, 2))
        there = np.concatenate([low, low + draw.integers(2, 9, (truths, 2))], axis=1)
        labels = draw.integers(0, classes, truths)
        crowd = torch.from_numpy(draw.random(truths) < 0.3)
        targets.append(true(there, labels, **({"iscrowd": crowd} if crowds else {})))
        if truths:
            copied = draw.integers(0, truths, detections)
            guesses = there[copied] + draw.integers(-1, 2, (detections, 4))
            kinds = np.where(draw.random(detections) < 0.8, labels[copied], classes)
        else:
            guesses = np.tile([0, 0, 5, 5], (detections, 1))
            kinds = draw.integers(0, classes, detections)
        low, high = np.sort(guesses.reshape(-1, 2, 2), axis=1).transpose(1, 0, 2)
        guesses = np.concatenate([low, high], axis=1)
        predictions.append(found(guesses, draw.integers(0, 6, detections) / 5, kinds))
    return predictions, targets


def iou(a, b, crowd=False):
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area, other = ((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b))
    union = area if crowd else area + other - wide * high
    return wide * high / union if union else 0.0


def outcomes(label, prediction, target, threshold):
    """(score, whether correct) of each detection that counts, in order, and the number of boxes."""
    truths = [
        (box, bool(crowd))
        for box, kind, crowd in zip(
            target["boxes"].tolist(),
            target["labels"].tolist(),
            target.get("iscrowd", torch.zeros(len(target["labels"]))).tolist(),
            strict=True,
        )
        if kind == label
    ]
    columns = (prediction[name].tolist() for name in ("boxes", "scores", "labels"))
    detections = [(score, box) for box, score, kind in zip(*columns, strict=True) if kind == label]
    taken, results = set(), []
    for score, box in sorted(detections, key=lambda each: -each[0])[:100]:
        best = None
        for place, (truth, crowd) in enumerate(truths):
            value = iou(box, truth)
            if crowd or place in taken or value < threshold:
                continue
            if best is None or value >= best[0]:
                best = value, place
        if best is not None:
            taken.add(best[1])
            results.append((score, True))
        elif not any(crowd and iou(box, truth, crowd) >= threshold for truth, crowd in truths):
            results.append((score, False))
    return results, sum(not crowd for _, crowd in truths)


def average_precision(label, predictions, targets, threshold):
    """The mean over 101 recalls of the best precision at that recall or beyond; None if none."""
    results, number = [], 0
    for both in zip(predictions, targets, strict=True):
        ours, truths = outcomes(label, *both, threshold)
        results, number = results + ours, number + truths
    if not number:
        return None
    points, hits = [], 0
    for place, (_, correct) in enumerate(sorted(results, key=lambda each: -each[0])):
        hits += correct
        points.append((hits / number, hits / (place + 1)))
    recalls = np.linspace(0, 1, 101)
    return np.mean([max((p for r, p in points if r >= least), default=0) for least in recalls])


def reference(predictions, targets):
    classes = sorted({kind for each in targets for kind in each["labels"].tolist()})
    table = {
        label: [average_precision(label, predictions, targets, each) for each in THRESHOLDS]
        for label in classes
    }
    table = {label: values for label, values in table.items() if values[0] is not None}
    by_class = {label: float(np.mean(values)) for label, values in table.items()}
    return (
        np.mean(list(by_class.values())),
        np.mean([values[0] for values in table.values()]),
        by_class,
    )


@given(st.integers(0, 10_000), st.booleans())
def test_equals_a_plain_reference(seed, crowds):
    predictions, targets = random_scene(seed, crowds=crowds)
    everything = torch.cat([t["labels"][~t.get("iscrowd", t["labels"] < 0)] for t in targets])
    assume(len(everything))
    ap, ap50, by_class = reference(predictions, targets)
    ours = mean_average_precision(predictions, targets)
    assert ours.ap == pytest.approx(ap, abs=1e-12)
    assert ours.ap50 == pytest.approx(ap50, abs=1e-12)
    assert ours.by_class == pytest.approx(by_class, abs=1e-12)
    assert list(ours.by_class) == sorted(by_class)


# Checked with pycocotools 2.0.11: (seed, crowds) → AP, AP50 of `random_scene`.
KNOWN = {
    (1, False): (0.069054210128, 0.236545706613),
    (1, True): (0.075665851512, 0.238305619860),
    (2, False): (0.060395870004, 0.228900564146),
    (2, True): (0.055413742751, 0.179278214862),
    (3, False): (0.056677271387, 0.172073553294),
    (3, True): (0.058023553284, 0.167427231608),
}


@pytest.mark.parametrize(("scene", "expected"), KNOWN.items(), ids=map(str, KNOWN))
def test_known_values_of_pycocotools(scene, expected):
    ours = mean_average_precision(*random_scene(scene[0], images=30, classes=3, crowds=scene[1]))
    assert (ours.ap, ours.ap50) == pytest.approx(expected, abs=1e-9)


class TestByHand:
    SQUARE = (0, 0, 10, 10)
    FAR = (50, 50, 60, 60)

    def test_perfect_detections(self):
        target = true([self.SQUARE, self.FAR], [0, 1])
        ours = mean_average_precision([{**target, "scores": torch.tensor([0.3, 0.9])}], [target])
        assert (ours.ap, ours.ap50, ours.by_class) == (1.0, 1.0, {0: 1.0, 1: 1.0})

    def test_thresholds(self):
        """An IoU of exactly 3/4 reaches 0.50 to 0.75, six of ten."""
        ours = mean_average_precision(
            [found([(0, 0, 10, 7.5)], [1.0], [0])], [true([self.SQUARE], [0])]
        )
        assert (ours.ap, ours.ap50) == (pytest.approx(0.6), 1.0)

    def test_precision_at_a_recall_is_the_best_at_that_recall_or_beyond(self):
        """Of three boxes, in order: right, wrong, right, never: precisions 1, 1/2, 2/3.

        Recalls up to 1/3 (34 of 101) have 1, up to 2/3 (33 more) 2/3, and beyond 0.
        """
        truths = [self.SQUARE, self.FAR, (90, 90, 99, 99)]
        prediction = found([self.SQUARE, (20, 20, 30, 30), self.FAR], [0.9, 0.8, 0.7], [0, 0, 0])
        ours = mean_average_precision([prediction], [true(truths, [0, 0, 0])])
        assert ours.ap == pytest.approx((34 + 33 * 2 / 3) / 101)

    def test_a_box_is_found_once(self):
        prediction = found([self.SQUARE] * 2 + [self.FAR], [0.9, 0.8, 0.7], [0, 0, 0])
        ours = mean_average_precision([prediction], [true([self.SQUARE, self.FAR], [0, 0])])
        assert ours.ap == pytest.approx((51 + 50 * 2 / 3) / 101)

    def test_scores_are_compared_over_all_images(self):
        predictions = [found([self.FAR], [0.9], [0]), found([self.SQUARE], [0.5], [0])]
        target = true([self.SQUARE], [0])
        ours = mean_average_precision(predictions, [true([], []), target])
        assert ours.ap == pytest.approx(0.5)
        predictions[0]["scores"] -= 0.6
        assert mean_average_precision(predictions, [true([], []), target]).ap == 1.0

    def test_each_class_counts_alike_and_one_without_boxes_not_at_all(self):
        truths = true([self.SQUARE] * 3 + [self.FAR], [0, 0, 0, 1])
        ours = mean_average_precision([found([self.FAR] * 2, [0.9, 0.8], [1, 2])], [truths])
        assert (ours.ap, ours.ap50, ours.by_class) == (0.5, 0.5, {0: 0.0, 1: 1.0})

    def test_only_the_100_best_of_an_image_count(self):
        others = [(k, 90, k + 1, 91) for k in range(100)]
        scores = [0.9] * 100 + [0.5]
        target = true([self.SQUARE], [0])
        ours = mean_average_precision([found([*others, self.SQUARE], scores, [0] * 101)], [target])
        assert ours.ap == 0.0
        ours = mean_average_precision(
            [found([*others[1:], self.SQUARE], scores[1:], [0] * 100)], [target]
        )
        assert ours.ap == pytest.approx(0.01)
        # A limit for each class: those of another one do not count towards it.
        labels = [1] * 100 + [0]
        ours = mean_average_precision([found([*others, self.SQUARE], scores, labels)], [target])
        assert ours.ap == 1.0

    def test_detections_in_a_crowd_do_not_count(self):
        crowd = true([self.SQUARE, self.FAR], [0, 0], iscrowd=torch.tensor([0, 1]))
        prediction = found(
            [(51, 51, 53, 53), (52, 52, 54, 54), self.SQUARE], [0.9, 0.8, 0.7], [0] * 3
        )
        assert mean_average_precision([prediction], [crowd]).ap == 1.0
        assert mean_average_precision([prediction], [true([self.SQUARE], [0])]).ap < 0.5

    def test_nothing_detected_is_0(self):
        ours = mean_average_precision([found([], [], [])], [true([self.SQUARE], [3])])
        assert (ours.ap, ours.ap50, ours.by_class) == (0.0, 0.0, {3: 0.0})

    def test_boxes_without_area(self):
        ours = mean_average_precision(
            [found([(5, 5, 5, 5), self.SQUARE], [0.9, 0.8], [0, 0])],
            [true([self.SQUARE, (5, 5, 5, 5)], [0, 0])],
        )
        assert ours.ap == pytest.approx(51 * 0.5 / 101)


class TestForms:
    TARGET = true([(0, 0, 10, 10)], [1])

    def test_empty_tensors_of_any_shape_and_type(self):
        empty = {name: torch.tensor([]) for name in ("boxes", "scores", "labels")}
        assert mean_average_precision([empty], [self.TARGET]).ap == 0.0

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int64])
    def test_any_dtype_with_gradients(self, dtype):
        corners = self.TARGET["boxes"].to(dtype)
        if dtype.is_floating_point:
            corners.requires_grad_()
        prediction = {"boxes": corners, "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}
        assert mean_average_precision([prediction], [self.TARGET]).ap == 1.0

    def test_arrays(self):
        target = {name: each.numpy() for name, each in self.TARGET.items()}
        prediction = {**target, "scores": np.array([0.5])}
        assert mean_average_precision([prediction], [target]).ap == 1.0

    def test_what_else_the_dicts_hold_is_ignored(self):
        target = {**self.TARGET, "image_id": 3, "masks": None}
        prediction = {**target, "scores": torch.tensor([0.5]), "iscrowd": None}
        assert mean_average_precision([prediction], [target]).ap == 1.0


class TestBadInput:
    GOOD = found([(0, 0, 10, 10)], [0.5], [1])

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"boxes": boxes((10, 0, 0, 10))}, r"x1 ≤ x2 .* \[10.0, 0.0, 0.0, 10.0\] in `predict"),
            ({"boxes": boxes((0, 9, 4, 4))}, "must be .*box_convert"),
            ({"boxes": torch.zeros(1, 5)}, r"boxes \[n, 4\] and the others \[n\], .*\[1, 5\]"),
            ({"boxes": torch.zeros(2, 4)}, r"boxes \[n, 4\]"),
            ({"boxes": torch.zeros(4)}, r"boxes \[n, 4\]"),
            ({"scores": torch.zeros(2)}, r"boxes \[n, 4\]"),
            ({"labels": torch.zeros(0)}, r"boxes \[n, 4\]"),
            ({"labels": torch.tensor(1)}, r"boxes \[n, 4\]"),
            ({"labels": torch.tensor([1.0])}, "labels integers"),
        ],
    )
    def test_of_a_prediction(self, change, match):
        with pytest.raises(DataError, match=match):
            mean_average_precision([{**self.GOOD, **change}], [self.GOOD])

    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_of_values_that_are_not_finite(self, value):
        for name, index in (("boxes", (0, 3)), ("scores", 0)):
            bad = {key: each.clone() for key, each in self.GOOD.items()}
            bad[name][index] = value
            with pytest.raises(NonFiniteError, match=r"NaN or infinite .*\[0\]"):
                mean_average_precision([bad], [self.GOOD])

    def test_of_other_images(self):
        with pytest.raises(DataError, match="same images, got 1 and 2"):
            mean_average_precision([self.GOOD], [self.GOOD] * 2)

    @pytest.mark.parametrize("missing", ["boxes", "labels", "scores"])
    def test_of_a_missing_entry(self, missing):
        bad = {key: each for key, each in self.GOOD.items() if key != missing}
        with pytest.raises(DataError, match=rf"`predictions\[0\]` must have \['{missing}'\] too"):
            mean_average_precision([bad], [self.GOOD])

    def test_of_crowds_of_another_number(self):
        bad = {**self.GOOD, "iscrowd": torch.zeros(2)}
        with pytest.raises(DataError, match=r"`targets\[0\]` must have boxes"):
            mean_average_precision([self.GOOD], [bad])

    @pytest.mark.parametrize("targets", [[], [true([], [])]])
    def test_no_true_box_at_all_is_refused(self, targets):
        with pytest.raises(DataError, match="at least one image must have a true box, got none"):
            mean_average_precision([self.GOOD] * len(targets), targets)
        crowd = {**self.GOOD, "iscrowd": torch.ones(1)}
        with pytest.raises(DataError, match="at least one image must have a true box, got none"):
            mean_average_precision([self.GOOD], [crowd])
