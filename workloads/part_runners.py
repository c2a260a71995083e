"""Where the parts of a corpus are written: in this process, or as tasks of Ray Data on the connected cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from cluster.environment import quiet_logging, quiet_ray_data, set_defaults
from cluster.ray_cluster import connect
from cluster.store_access import assume_reachable
from models.errors import SignrayError
from workloads.corpora.corpus import Part
from workloads.shard_writer import PartSummary

WritePart = Callable[[Part, int], PartSummary]
RunParts = Callable[[WritePart, Sequence[Part]], Iterator[tuple[int, PartSummary]]]


def in_this_process(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
    """The parts' numbers and summaries, one after the other."""
    for number, part in enumerate(parts):
        yield number, write(part, number)


def with_ray(write: WritePart, parts: Sequence[Part]) -> Iterator[tuple[int, PartSummary]]:
    """The same by tasks of Ray Data, one per part, in the order in which they finish; every node must see the output folder.

    Errors: what `write` raises of ours, as it is; ConnectionError where RAY_ADDRESS doesn't answer.
    """
    set_defaults()
    import ray.data

    with nullcontext() if ray.is_initialized() else connect():
        quiet_logging()
        quiet_ray_data()
        items = [{"number": number, "part": pickle.dumps(part)} for number, part in enumerate(parts)]
        results = ray.data.from_items(items, override_num_blocks=len(items)).map(partial(_write_item, write=write))
        for row in results.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, SignrayError):
                raise result
            yield row["number"], result


def _write_item(item: dict[str, Any], write: WritePart) -> dict[str, Any]:
    """A user's mistake comes back as a value: raised here it would reach the driver wrapped in Ray's own error."""
    assume_reachable()  # the driver has written there
    try:
        result: PartSummary | SignrayError = write(pickle.loads(item["part"]), item["number"])
    except SignrayError as error:
        result = error
    return {"number": item["number"], "result": pickle.dumps(result)}
