"""The page of a study: verdict first, then what it rests on."""

from tutelage.studies.page.whole import report_study, study_page, write_study_page

__all__ = ["report_study", "study_page", "write_study_page"]
