"""The README's commands run as they stand, with toy sizes added; `make test` itself excepted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT
from tests.integration.head_node import HeadNode
from tests.parity import run as parity
from tests.unit.workloads.corpora.skeletons_on_disk import write_skeletons
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz, write_release
from workloads import demo, evaluate, predict, preprocess, train

TOY = ("train.epochs=1", "train.num_workers=0", "train.batch_size=2", "network.blocks=[[4,4,1,7,2],[4,4,1,3,2]]", "network.head={hidden_size: 16, ff_size: 16}")
TOY_SETTINGS = [part for entry in (*TOY, "run.name=RUN") for part in ("--set", entry)]
ELSEWHERE = {
    "make test": "is this run",
    "make bench": "tests/unit/benchmarks",
    "source .venv/bin/activate": "the tests run in it",
    "mlflow ui": "a server that doesn't end; tests/integration/cluster starts one",
    "export RAY_AUTH_MODE": "needs a cluster with a token",
    "ray job submit": "tests/integration/workloads",
}


def commands() -> list[str]:
    """Every line of the README's shell blocks, continued lines joined, comments cut."""
    blocks = re.findall(r"```bash\n(.*?)```", (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s+#.*", "", line).strip())]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README's placeholders stand for: DIR, clips.csv, clip.npz, files to score."""
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
    write_sentences(tmp_path)
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


def test_readme_commands_run(workplace: Path, ray_cluster: HeadNode, capsys: pytest.CaptureFixture[str]) -> None:
    """Takes half a minute: the demo starts two Ray Train workers."""
    jobs: dict[str, Callable[[list[str]], int | None]] = {
        "workloads/preprocess.py": preprocess.main,
        "workloads/train.py": lambda arguments: train.main([*arguments, *TOY_SETTINGS] if "--recipe" in arguments else arguments),
        "workloads/evaluate.py": lambda arguments: evaluate.main(arguments if arguments[0] == "score" else [*arguments, "--in-process"]),
        "workloads/predict.py": predict.main,
        "tests/parity/run.py": lambda _: parity.main([str(REPOSITORY_ROOT / "tests/parity/cases/mska_collate.json"), "--quiet"]),
    }
    run = 0
    for command in commands():
        if any(command.startswith(start) for start in ELSEWHERE):
            continue
        run += 1
        if command == "make demo":
            assert demo.main(["--toy"]) == 0
            continue
        program, script, *arguments = shlex.split(command)
        assert (program, script in jobs) == ("python", True), f"README: no test knows {command!r}"
        assert not jobs[script](arguments), command
    assert run >= 8
    assert (workplace / "runs/RUN/bundle/bundle.json").exists()
    assert "has come to its end" in capsys.readouterr().out
    assert demo.main(["--toy"]) == 0, "a second demo re-uses what is there"
    assert "already done" in capsys.readouterr().out


def test_readme_lists_every_recipe() -> None:
    from workloads.recipe import recipe_names

    text = (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in recipe_names() if f"| `{name}` |" not in text] == []
