"""The page of one run."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from tutelage.reports.page import Page
from tutelage.reports.run_account import RunAccount
from tutelage.reports.run_confidence import confidence_sections
from tutelage.reports.run_curves import learning_curves
from tutelage.reports.run_measure import measure_run
from tutelage.reports.run_models import domains_section, models_section, settings_section
from tutelage.reports.run_record import RunRecord
from tutelage.reports.run_verdict import counted, run_verdict
from tutelage.reports.writing import check_path, write_report


def write_run_page(run: RunRecord, path: Path) -> Path:
    """Measure a run and write its page, with Markdown and JSON beside it; return the page's path.

    Raises:
        ArgumentError: The path does not end in `.html`.
        RunFolderError: A file cannot be written.
        DataError: The validation data cannot be read.
        ModelError: A model refuses its inputs.
    """
    check_path(path)
    account = RunAccount.of(run, measure_run(run))
    return write_report(run_page(account), path, account.record())


def run_page(run: RunAccount) -> Page:
    """Return the page of a run."""
    how = "distilled" if run.distilled else "trained on labels"
    return Page(
        title=f"{run.student}: {how}",
        lead=(
            f"{counted(len(run.history), 'epoch')}, "
            f"{counted(run.history[-1]['step'], 'optimiser step')}; "
            f"learnt from {run.settings['objective']}."
        ),
        warning=_warning(run),
        verdict=run_verdict(run),
        sections=(
            models_section(run),
            *(section for section in (domains_section(run),) if section is not None),
            *confidence_sections(run.figures),
            learning_curves(run.history),
            settings_section(run),
        ),
        footer=f"Made by tutelage {version('tutelage')}.",
    )


def _warning(run: RunAccount) -> str:
    """Return what there is to know of a page that was made without the models."""
    warning = ""
    if not run.finished:
        epochs = run.settings.get("epochs", "?")
        warning = f"This run is not finished: {len(run.history)} of {epochs} epochs are done. "
    if not run.measured:
        warning += (
            "This page rests on the log alone; run.report() in Python measures teacher, "
            "confidence and speed as well."
        )
    return warning.strip()
