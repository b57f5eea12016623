"""The page report.html: tables, figures, and single questions to look at and listen to, in one file."""

RECORDINGS = 12  # whose questions a page holds, by default
