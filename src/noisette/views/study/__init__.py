"""What a study says: sentences from its numbers, a table, figures, and a page of it all."""

from noisette.views.study.pictures import sheet as sheet
from noisette.views.study.report import Told as Told
from noisette.views.study.report import report as report
from noisette.views.study.table import plain as plain
