"""Clinical reports: files of many formats -> sections -> what is said of each finding.

reading      one report from one file, or many from a table
sectioning   text -> sections, no character lost
assertion    negation, doubt, history, and whose it is
mention      the findings of a lexicon in a report, and the labels that follow
"""

from medfuse.ingest.reports.reading import ReportColumns, is_report_file, parse_report, read_report, read_reports

__all__ = ["ReportColumns", "is_report_file", "parse_report", "read_report", "read_reports"]
