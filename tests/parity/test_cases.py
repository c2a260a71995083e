"""Every recorded case passes, altered and malformed ones don't, and cases of other sizes and seeds run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import ParityError
from tests.parity import formula
from tests.parity.adapters import ADAPTERS
from tests.parity.case import Case, Record, read_case, recipe_match, recipe_part, recipe_values
from tests.parity.comparison import Report, Tolerance
from tests.parity.run import Status, main
from tests.parity.weights import published_state
from tests.unit.models.decoding.oracles import log_softmax, tf_search
from tests.unit.models.metrics.oracles import slow_bleu, slow_rouge_l, slow_word_errors

HERE = Path(__file__).resolve().parent
OURS = sorted((HERE / "cases").glob("*.json"))
SHARED = [path for path in sorted((HERE.parents[2] / "shared" / "parity").glob("*.json")) if path.name not in {case.name for case in OURS}]
Values = dict[str, Any]


def write(folder: Path, values: Values) -> Path:
    path = folder / "case.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def load(name: str) -> Values:
    values: Values = json.loads((HERE / "cases" / f"{name}.json").read_text(encoding="utf-8"))
    return values


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_case_passes(path: Path) -> None:
    assert main(["--quiet", "--traceback", str(path)]) == Status.PASSED


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_shared_case_passes_where_its_kind_is_built(path: Path) -> None:
    assert main(["--quiet", "--traceback", str(path)]) == (Status.PASSED if read_case(path).kind in ADAPTERS else Status.NOT_BUILT)


def test_it_runs_as_a_file_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "run.py"), str(HERE / "cases" / "mska_metrics.json"), "missing.json"]
    done = subprocess.run(command, cwd=tmp_path, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == Status.MISSED
    lines = done.stdout.splitlines()
    assert lines[0].startswith("  values.phoenix2014t_clean: 0.00e+00")
    assert lines[-2].startswith("mska_metrics: passed, worst ")
    assert lines[-1] == "missing.json: MALFORMED missing.json: can't be read: No such file or directory"


def alter_sample(values: Values) -> None:
    record = values["expected"]["left"]
    record["sample"][5] += 3e-4 * (abs(record["sample"][5]) + record["std"])


def alter_id(values: Values) -> None:
    values["decoded"]["fuse"]["beam_5"]["ids"][0][0] += 1


def alter_score(values: Values) -> None:
    values["decoded"]["right"]["beam_10"]["log_probability"][1] *= 1.0002


def alter_shape(values: Values) -> None:
    values["expected"]["body"]["shape"] = [3, 12, 24]


def expect_more(values: Values) -> None:
    values["expected"]["middle"] = values["expected"]["body"]


@pytest.mark.parametrize("alter", [alter_sample, alter_id, alter_score, alter_shape, expect_more])
def test_an_altered_figure_is_a_miss(alter: Callable[[Values], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = load("mska_ctc_decode")
    alter(values)
    assert main(["--quiet", str(write(tmp_path, values))]) == Status.MISSED
    assert "mska_ctc_decode: MISSED, worst" in capsys.readouterr().out


def lose_key(values: Values) -> None:
    del values["inputs"]["fuse"]["how"]


def reword(values: Values) -> None:
    values["inputs"]["fuse"]["how"] = "zeros"


def lose_sample(values: Values) -> None:
    values["expected"]["fuse"]["sample"].pop()


def break_type(values: Values) -> None:
    values["inputs"]["input_lengths"] = "long"


def expect_nothing(values: Values) -> None:
    values["expected"], values["decoded"] = {}, {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_key, "inputs.fuse has no 'how'"),
        (reword, "recipe 'zeros' doesn't read"),
        (lose_sample, "63 sampled entries"),
        (break_type, "--traceback shows where"),
        (expect_nothing, "nothing to compare"),
    ],
)
def test_a_malformed_case_is_one_line(damage: Callable[[Values], None], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = load("mska_ctc_decode")
    damage(values)
    assert main([str(write(tmp_path, values))]) == Status.MISSED
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("mska_ctc_decode: MALFORMED case.json: ")
    assert message in line


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"case": 3}'])
def test_what_is_no_case_is_malformed(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case.json").write_text(text, encoding="utf-8")
    assert main([str(tmp_path / "case.json")]) == Status.MISSED
    assert capsys.readouterr().out.startswith("case.json: MALFORMED case.json: not ")


def test_a_kind_that_is_not_built_has_its_own_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = write(tmp_path, {"case": "holograms"})
    assert int(main([str(unknown)])) == 3
    assert capsys.readouterr().out == "holograms: not built yet (case.json)\n"
    assert main(["--quiet", str(unknown), str(HERE / "cases" / "mska_metrics.json")]) == Status.NOT_BUILT
    assert main(["--quiet", str(unknown), str(tmp_path / "missing.json")]) == Status.MISSED


def smoothed(x: np.ndarray, bias: float, decay: float, gain: float) -> np.ndarray:
    x = x.copy()
    x[:, :, 0] += np.float32(bias)
    steps = [x[:, 0]]
    for step in range(1, x.shape[1]):
        steps.append(np.float32(decay) * steps[-1] + np.float32(gain) * x[:, step])
    return np.stack(steps, axis=1)


@pytest.mark.parametrize(("seed", "shape", "lengths"), [(5, (2, 17, 9), [17, 4]), (11, (4, 31, 7), [31, 30, 1, 12])])
def test_decoding_cases_of_other_sizes_pass(seed: int, shape: tuple[int, ...], lengths: list[int], tmp_path: Path) -> None:
    values = load("mska_ctc_decode")
    logits = {}
    for turn, head in enumerate(("fuse", "body", "left", "right")):
        scale, bias = 1.5 + 0.25 * turn, 0.5 * turn
        how = f"x = {scale}*formula.array('{head}_gloss_logits', shape, seed); x[:,:,0] += {bias}; "
        values["inputs"][head] = {"shape": shape, "how": how + "then y[0]=x[0], y[t]=0.6*y[t-1]+0.8*x[t] along time, float32"}
        logits[head] = smoothed(np.float32(scale) * formula.array(f"{head}_gloss_logits", shape, seed), bias, 0.6, 0.8)
    logits["ensemble_last"] = np.log(sum(np.exp(log_softmax(head)) for head in logits.values())).astype(np.float32)
    values |= {"seed": seed, "config": {"num_classes": shape[-1], "blank": 0}}
    values["inputs"]["input_lengths"] = lengths
    values["expected"] = {head: formula.describe(value) for head, value in logits.items()}
    values["decoded"] = {head: {f"beam_{width}": slow_decoding(value, lengths, width) for width in (2, 7)} for head, value in logits.items()}
    assert main(["--quiet", "--traceback", str(write(tmp_path, values))]) == Status.PASSED


def slow_decoding(logits_BSV: np.ndarray, lengths: list[int], width: int) -> Values:
    found = [tf_search(clip[:length], width) for clip, length in zip(logits_BSV, lengths, strict=True)]
    merged = [[label for place, label in enumerate(ids) if place == 0 or label != ids[place - 1]] for ids, _ in found]
    return {"ids": merged, "before_merging_repeats": [list(ids) for ids, _ in found], "log_probability": [score for _, score in found]}


def test_metric_cases_of_other_texts_pass(tmp_path: Path) -> None:
    values = load("mska_metrics")
    glosses = (["HEUTE REGEN NORD", "WIND STARK", "SONNE"], ["HEUTE NORD REGEN", "WIND SCHWACH STARK", ""])
    texts = (["am tag regnet es oft im norden", "morgen sonne"], ["am tag regnet es im norden oft", "morgen wird es warm"])
    chars = (["今天天气很好", "他来"], ["今天天气好", "她来"])
    values["inputs"] = {
        "gloss_reference": glosses[0],
        "gloss_hypothesis": glosses[1],
        "text_reference": texts[0],
        "text_hypothesis": texts[1],
        "char_reference": chars[0],
        "char_hypothesis": chars[1],
    }
    rates = slow_rates(*glosses)
    values["values"] = {
        **{f"{corpus}_clean": glosses[1] for corpus in ("phoenix2014", "phoenix2014t")},
        **{f"wer_{rules}": rates for rules in ("raw", "phoenix2014", "phoenix2014t")},
        "bleu_word": {f"bleu{order}": slow_bleu(*texts, order=order, char=False) for order in (1, 2, 3, 4)},
        "bleu_char": {f"bleu{order}": slow_bleu(*chars, order=order, char=True) for order in (1, 2, 3, 4)},
        "rouge_word": sum(slow_rouge_l(*pair, char=False) for pair in zip(*texts, strict=True)) / 2,
        "rouge_char": sum(slow_rouge_l(*pair, char=True) for pair in zip(*chars, strict=True)) / 2,
    }
    assert main(["--quiet", "--traceback", str(write(tmp_path, values))]) == Status.PASSED


def slow_rates(references: list[str], hypotheses: list[str]) -> Values:
    counts = [slow_word_errors(reference.split(), hypothesis.split()) for reference, hypothesis in zip(references, hypotheses, strict=True)]
    total = sum(len(reference.split()) for reference in references)
    sums = {kind: 100 * sum(getattr(count, kind) for count in counts) / total for kind in ("substitutions", "deletions", "insertions")}
    return {"wer": sum(sums.values()), "sub_rate": sums["substitutions"], "del_rate": sums["deletions"], "ins_rate": sums["insertions"]}


def test_recipes_give_their_numbers() -> None:
    assert recipe_values("clip({low}*x + {bias}, 0, {high})", "clip(0.4*x + -1e-3,  0, 2)") == {"low": 0.4, "bias": -0.001, "high": 2.0}
    assert recipe_match("array('{name:text}', ({size}))", "array('a b', (3))") == {"name": "a b", "size": "3"}
    for part, numbers in (("0.5 - .2*x", (0.5, -0.2)), ("-1e-1+2*x", (-0.1, 2.0)), ("3 + -4 *x", (3.0, -4.0))):
        assert recipe_part("clip({}{+}*x", f"y = x; z = clip({part}, 0, 1)") == numbers
    for read, text in ((recipe_values, "x"), (recipe_part, "y*x")):
        with pytest.raises(ParityError, match="knows no other wording"):
            read("{scale}*x", text)


def test_tolerances_are_read_and_found_by_part() -> None:
    assert Tolerance.parse({"rel": 0.02, "std": 0.03}) == Tolerance(rel=0.02, std=0.03)
    assert Tolerance.parse("abs 1e-6") == Tolerance(rel=0, std=0, absolute=1e-6)
    with pytest.raises(ParityError, match="tolerance 'tight'"):
        Tolerance.parse("tight")
    record = formula.describe(np.array([1.0, 3.0]))
    report = Report(tolerances={"gradients": {"rel": 0.1, "std": 0.0}})
    for name, part in (("training.gradients.weight", None), ("weight", "gradients"), ("weight", None)):
        report.compare(name, [1.05, 3.0], record, part=part)
    assert [outcome.passed for outcome in report.outcomes] == [True, True, False]
    assert report.outcomes[0].share == pytest.approx(0.5)
    assert report.outcomes[0].deviation == pytest.approx(0.05 / 2)


def test_a_nan_of_ours_is_a_miss_and_infinities_may_agree() -> None:
    report = Report()
    report.compare_numbers("infinite", [-math.inf, 1.0], [-math.inf, 1.0])
    report.compare_numbers("broken", [math.nan], [1.0])
    report.compare_exact("nested", {"a": (1, [2])}, {"a": [1, [3]]})
    assert [outcome.passed for outcome in report.outcomes] == [True, False, False]
    assert report.outcomes[-1].detail == "2 for 3 at .a[1][0]"


def test_published_state_scales_repeats_and_leaves_tables_out() -> None:
    values: Values = {
        "seed": 4,
        "config": {"scale": {r"\.alphas$": 0.1}},
        "parameters": [["a.alphas", [2, 3]], ["b.weight", [2, 3]], ["tied.weight", [2, 3]], ["pe.pe", [1, 4]], ["bn.num_batches_tracked", []]],
        "constants": ["pe.pe"],
        "aliases": {"tied.weight": "b.weight"},
    }
    case = Case(path=Path("case.json"), record=Record(values, ""))
    state = published_state(case)
    assert list(state) == ["a.alphas", "b.weight", "tied.weight", "bn.num_batches_tracked"]
    assert state["tied.weight"] is state["b.weight"]
    wanted = (formula.tensor("a.alphas", (2, 3), 4).astype(np.float64) * 0.1).astype(np.float32)
    assert np.array_equal(state["a.alphas"].numpy(), wanted)
    whole = published_state(case, constant=lambda name, shape: state["b.weight"].new_ones(shape))
    assert whole["pe.pe"].tolist() == [[1.0] * 4]
