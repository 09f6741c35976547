"""Estimators of scikit-learn in files of skops, as teachers."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.references.archives import check_archive
from tutelage.references.known_categories import known_categories
from tutelage.references.reference import Reference
from tutelage.references.row_model import RowModel, digest_of, names_of
from tutelage.teachers import Predictor, Teacher


def load_estimator(reference: Reference, classes: int | None) -> Teacher:
    """Return an estimator of scikit-learn, a file that `skops.io.dump` wrote.

    A classifier must have `predict_proba`. Types that skops does not know as safe are loaded only
    if the reference names them: `model.skops?trust=package.Class,package.Other`.

    Raises:
        ArgumentError: There is no such file.
        ModelError: It is damaged, has types that are not trusted, or is no such estimator.
    """
    reference.check(options=("trust",))
    path, io = reference.file, reference.needs("skops.io", "skops")
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} must be a whole file of skops, got another one; write it by "
            "skops.io.dump(model, path)"
        )
    check_archive(path, compressed=True)
    trusted = reference.options.get("trust", "").split(",")
    with reference.loading(
        "write it again by skops.io.dump(model, path), with the installed versions"
    ):
        unknown = [each for each in io.get_untrusted_types(file=path) if each not in trusted]
        if unknown:
            raise ModelError(
                f"`{reference.argument}` {reference.text!r} has types that could run code when "
                f"they are loaded: {', '.join(unknown)}; if you trust them, write "
                f"?trust={','.join(unknown)} behind the name"
            )
        model = io.load(path, trusted=[each for each in trusted if each])
    return _teacher(reference, model, digest_of(path), classes)


def _teacher(reference: Reference, model: Any, digest: str, classes: int | None) -> Teacher:
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - heavy

    features = getattr(model, "feature_names_in_", None)
    features = None if features is None else tuple(map(str, features))
    known = known_categories(model)
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    if is_regressor(model):
        return Predictor(RowModel(name, model.predict, digest, features, known=known))
    if not is_classifier(model) or not hasattr(model, "predict_proba"):
        raise ModelError(
            f"`{reference.argument}` must be a regressor, or a classifier with predict_proba, got "
            f"{name} in {reference.text!r}; fit one with probabilities, such as a "
            "sklearn.calibration.CalibratedClassifierCV around it"
        )
    own = model.classes_
    several = isinstance(own, list)  # binary labels, each with classes of its own
    if several and any(len(each) != 2 for each in own):  # noqa: PLR2004
        raise ModelError(
            f"`{reference.argument}` must have one answer for an example, or binary ones, got "
            f"several of many classes in {reference.text!r}; distil them one by one"
        )
    binary = several or bool(getattr(model, "multilabel_", False))

    def run(rows: Any) -> NDArray[Any]:
        found = model.predict_proba(rows)
        return np.stack([each[:, 1] for each in found], axis=1) if several else np.asarray(found)

    reference.check_classes(len(own), classes)
    rows = RowModel(name, run, digest, features, None if binary else names_of(own), known=known)
    return Predictor(rows, probabilities=True, binary=binary)
