"""The README's commands run as they stand, with toy sizes added, in this process; those that start a cluster, a server or a browser have tests of their own."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cluster import status
from cluster.environment import REPOSITORY_ROOT
from models.dsta_slr.config import DstaOptions
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.published import export
from tests.parity import run as parity
from tests.unit.models.media.videos import numbered, write_video
from tests.unit.models.tiny_onnx import write_pose_model
from tests.unit.workloads.corpora.skeletons_on_disk import write_skeletons
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz, write_release
from workloads import demo_isolated, demo_slt, evaluate, explain, predict, preprocess, train
from workloads.recipe import load_recipe

TOY = ("train.epochs=1", "train.num_workers=0", "train.batch_size=2", "network.blocks=[[4,4,1,7,2],[4,4,1,3,2]]", "network.head={hidden_size: 16, ff_size: 16}")
TOY_SIGNS = (
    "train.epochs=1",
    "train.num_workers=0",
    "train.gpus_per_worker=0",
    "train.batch_size=2",
    "validation.every_epochs=1",
    "network={width: 4, depth: 2, num_subsets: 2, drop_blocks: 1, drop_frames: 3}",
)
DEMOS = {"make demo-isolated": demo_isolated, "make demo-slt": demo_slt}
ELSEWHERE = {
    "make demo": "tests/integration/workloads runs it with toy sizes",
    "make test": "is this run",
    "make bench": "tests/unit/benchmarks",
    "source .venv/bin/activate": "the tests run in it",
    "make demo-tune": "tests/integration/tune runs it with toy sizes",
    "make ui": "a server that doesn't end; tests/browser starts one",
    "make serve": "a service that doesn't end; tests/integration/serve starts one",
    "curl -s http://127.0.0.1:8000": "tests/integration/serve",
    "python serve/client.py": "tests/integration/serve",
    "export RAY_AUTH_MODE": "needs a cluster with a token",
    "export AWS_ENDPOINT_URL": "needs a store; tests/integration/workloads/test_stored_training.py has one",
    "ray job submit": "tests/integration/workloads",
}


def commands() -> list[str]:
    """Every line of the README's shell blocks, continued lines joined, comments cut."""
    blocks = re.findall(r"```bash\n(.*?)```", (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s+#.*", "", line).strip())]


def train_toy(arguments: list[str]) -> int:
    """The training at toy sizes, as the run that the README's RUN stands for from then on."""
    if "--recipe" not in arguments:
        return train.main(arguments)
    recipe = arguments[arguments.index("--recipe") + 1]
    settings = (*(TOY_SIGNS if load_recipe(recipe).system == "dsta_slr" else TOY), "run.name=RUN")
    shutil.rmtree("runs/RUN", ignore_errors=True)
    return train.main([*arguments, *(part for entry in settings for part in ("--set", entry))])


def write_released_checkpoint(path: Path) -> None:
    """Weights of published widths under their published names, with the statistics of joints."""
    network = DstaSlr(DstaOptions(), 100)
    network.input_norm.running_mean.view(-1, 3)[:, 2] = 0.6  # confidence
    torch.save({"weights": export(network), "lr": 0.1}, path)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README's placeholders stand for: DIR, clips.csv, clip.npz, clip.mp4, rtmw.onnx, files to score."""
    monkeypatch.chdir(tmp_path)
    write_release(tmp_path / "DIR")
    write_skeletons(tmp_path / "DIR")
    rows = []
    for number in range(12):
        split = "train" if number < 8 else "dev" if number < 10 else "test"
        write_npz(tmp_path / f"{number}.npz", keypoints(16, number))
        rows.append({"name": f"clip{number}", "path": f"{number}.npz", "split": split, "gloss": "HAUS BAUM" if number % 2 else "GEHEN"})
    write_manifest(tmp_path / "clips.csv", rows)
    write_npz(tmp_path / "clip.npz", keypoints(24, 99))
    write_video(tmp_path / "clip.mp4", numbered(12))
    write_pose_model(tmp_path / "rtmw.onnx")
    write_sentences(tmp_path)
    write_released_checkpoint(tmp_path / "wlasl100.pt")
    return tmp_path


def write_sentences(folder: Path) -> None:
    """Hypotheses and references to score."""
    files = {
        "out.ctm": "clip 1 0.00 0.01 REGEN\nclip 1 0.01 0.02 NORD\n",
        "test.stm": "clip 1 anna 0.0 1.79769e+308 REGEN NORD WIND\n",
        "baseline.jsonl": '{"name": "clip", "sentence": "REGEN"}\n',
        "texts.tsv": "clip\tregen im norden.\n",
        "test.tsv": "name\tgloss\ttext\nclip\tREGEN NORD\tregen im norden .\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def test_readme_commands_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Takes half a minute: it trains ten small networks."""
    jobs: dict[str, Callable[[list[str]], int | None]] = {
        "workloads/preprocess.py": preprocess.main,
        "workloads/train.py": train_toy,
        "workloads/evaluate.py": lambda arguments: evaluate.main(arguments if arguments[0] == "score" else [*arguments, "--in-process"]),
        "workloads/predict.py": predict.main,
        "workloads/explain.py": lambda arguments: explain.main([*arguments, "--no-film", "--gloss", "GEHEN"]),  # the toy recognises nothing
        "cluster.status": status.main,
        "tests/parity/run.py": lambda _: parity.main([str(REPOSITORY_ROOT / "tests/parity/cases/mska_collate.json"), "--quiet"]),
    }
    run = 0
    for command in commands():
        if command in DEMOS:
            assert DEMOS[command].main(["--toy"]) == 0
            continue
        if any(command.startswith(start) for start in ELSEWHERE):
            continue
        run += 1
        program, script, *arguments = shlex.split(command.replace(" -m ", " "))
        assert (program, script in jobs) == ("python", True), f"README: no test knows {command!r}"
        assert not jobs[script]([part.replace("demo_isolated", "demo_isolated-toy") for part in arguments]), command
    assert run >= 8
    assert (workplace / "runs/RUN/bundle/bundle.json").exists()
    assert "has come to its end" in capsys.readouterr().out


def test_readme_lists_every_recipe() -> None:
    from workloads.recipe_values import recipe_names

    text = (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")
    rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert [name for name in recipe_names() if f"`{name}`" not in rows] == []
