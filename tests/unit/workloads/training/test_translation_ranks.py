"""A translator under ZeRO's stage 3 and bf16 on two ranks: it learns, and both generate in step, however long their sentences. Two processes, no Ray."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cluster.deepspeed_engine import deepspeed_config, full_state_dict, initialize
from cluster.ray_cluster import free_port
from models.batch import Batch
from models.losses.translation import translation_loss
from models.translation.config import GenerationOptions
from models.translation.generation import Member, generate
from models.translation.translator import GlossToText
from tests.parity.adapters.translation import text_batch
from tests.unit.models.translation.tiny import TINY_TRANSLATOR
from workloads.training.faults import gather

WORLD = 2


def batch(rank: int) -> Batch:
    texts = ([[9, 8, 2, 1], [7, 2, 1, 1]], [[6, 9, 8, 2], [6, 7, 2, 6]]) if rank == 0 else ([[11, 2], [12, 2]], [[6, 11], [6, 12]])
    return replace(text_batch(*texts), sources=torch.tensor([[9 + rank, 10, 2, 8], [12, 2, 8, 1]]), source_lengths=torch.tensor([4, 3]))


def work(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    torch.manual_seed(0)
    network = GlossToText(TINY_TRANSLATOR)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    config = deepspeed_config(stage=3, micro_batch_size=2, world_size=WORLD, precision="bf16-autocast")
    engine: Any = initialize(network, optimizer, config)
    losses = []
    for _ in range(6):
        text = engine(batch(rank)).text
        loss = translation_loss(text.logits, batch(rank).text_targets)  # type: ignore[arg-type]
        engine.backward(loss)
        engine.step()
        losses.append(loss.item())
    engine.module.eval()
    steps = list[bool]()

    def together(finished: bool) -> bool:
        steps.append(finished)
        return all(gather(finished))

    with torch.no_grad():
        text = engine.module(replace(batch(rank), text_inputs=None)).text
        member = Member(mbart=engine.module.translator.mbart, states=text.states, mask=text.mask)
        found = generate([member], GenerationOptions(beam_width=2, max_length=8), start=(6,), together=together)
    weights = full_state_dict(engine)
    answer = {"losses": losses, "steps": len(steps), "ids": found.ids.tolist(), "rows": list(weights["translator.mbart.model.shared.weight"].shape)}
    (Path(folder) / f"answers-{rank}.json").write_text(json.dumps(answer))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(str(folder), free_port()), nprocs=WORLD)  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
    return [json.loads((folder / f"answers-{rank}.json").read_text()) for rank in range(WORLD)]


def test_a_translator_learns_and_generates_under_zero_3_and_bf16(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert answer["losses"][-1] < answer["losses"][0]
        assert answer["rows"] == [40, 16]
        assert all(row[0] == 6 for clip in answer["ids"] for row in clip)
    assert answers[0]["steps"] == answers[1]["steps"]
