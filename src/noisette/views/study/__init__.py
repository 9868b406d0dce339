"""What a study says: sentences from its numbers, a table, figures, and a page of it all."""

from noisette.views.study.report import report as report
