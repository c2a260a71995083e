"""The kinds of parity case that are built: kind → module with `run(case: Case, report: Report) -> None`.

An adapter makes the case's inputs by its recipes, runs our code and hands every expected figure to the report. To add a kind,
write its module here and add its line. Modules are imported when a file of their kind is run.
"""

from __future__ import annotations

ADAPTERS: dict[str, str] = {}
