"""What the client prints: what `workloads/predict.py` prints, from the answers of the service. Needs no model code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

Record = Mapping[str, Any]


def write_records(records: Iterable[Record], about: Record, form: str, out: TextIO) -> bool:
    """Print answers as `table`, `json` or `jsonl` (one line as soon as it is known); whether every clip was recognised."""
    kept: list[Record] = []
    complete = True
    for record in records:
        complete = complete and "error" not in record
        if form == "jsonl":
            print(json.dumps(record, ensure_ascii=False), file=out, flush=True)
        else:
            kept.append(record)
    if form == "json":
        print(json.dumps({"bundle": about, "clips": kept}, ensure_ascii=False, indent=1), file=out)
    elif form == "table":
        console = Console(file=out, highlight=False)
        for part in record_tables(kept):
            console.print(part, soft_wrap=isinstance(part, str))
    return complete


def record_tables(records: Sequence[Record]) -> Iterator[RenderableType]:
    """Glosses with times and confidence, or the likeliest signs; then the clips that could not be recognised, a line each."""
    sentences = [record for record in records if "glosses" in record]
    if sentences:
        yield _sentence_table(sentences)
    signs = [record for record in records if "candidates" in record]
    if signs:
        yield _sign_table(signs)
    for record in records:
        if "error" in record:
            name, reason = record["name"], record["error"]
            named = reason if reason.startswith(name) else f"{name}: {reason}"
            yield f"[red]error:[/red] {escape(named)}"


def _sentence_table(records: Sequence[Record]) -> Table:
    table = Table("clip", "gloss", box=SIMPLE_HEAD)
    table.columns[0].overflow = "fold"
    for column in ("from", "to", "confidence"):
        table.add_column(column, justify="right", no_wrap=True)
    for record in records:
        for number, row in enumerate(_rows(record)):
            table.add_row(escape(record["name"]) if number == 0 else "", *row)
        table.add_section()
    return table


def _rows(record: Record) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(escape(entry["gloss"]), *_times(entry), f"{entry['confidence']:.2f}") for entry in record["glosses"]]
    if record["low_confidence"]:
        remark = "low confidence, don't rely on it" if rows else "nothing recognised"
        rows.append((f"[yellow]({remark})[/yellow]", "", "", f"[yellow]{record['confidence']:.2f}[/yellow]"))
    return rows


def _times(entry: Record) -> tuple[str, str]:
    if entry["start_s"] is None or entry["end_s"] is None:
        return f"frame {entry['start_frame']}", f"{entry['end_frame']}"
    return f"{entry['start_s']:.2f} s", f"{entry['end_s']:.2f} s"


def _sign_table(records: Sequence[Record]) -> Table:
    table = Table("clip", "sign", box=SIMPLE_HEAD)
    table.columns[0].overflow = "fold"
    table.add_column("confidence", justify="right", no_wrap=True)
    table.add_column("then")
    for record in records:
        first, *others = record["candidates"]
        then = ", ".join(f"{sign['label']} {sign['probability']:.2f}" for sign in others[:3])
        mark = " [yellow](low)[/yellow]" if record["low_confidence"] else ""
        table.add_row(escape(record["name"]), escape(first["label"]), f"{first['probability']:.2f}{mark}", escape(then))
    return table
