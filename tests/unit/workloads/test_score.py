"""The `score` command: sclite's table, the same figures from any format, and nothing silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import CorpusError
from models.metrics import both_sides, word_errors
from models.metrics.bleu import corpus_bleu
from models.metrics.rouge import corpus_rouge_l
from workloads import evaluate
from workloads.file_scoring.sclite_table import alignment_lines, summary_table
from workloads.score import MOST_TOLD, main

REFERENCES = {"a": "MORGEN REGEN NORD", "b": "poss-MEIN SONNE", "c": "WIND STARK WIND STARK WIND", "d": "HEUTE"}
HYPOTHESES = {"a": "MORGEN loc-NORD NORD", "b": "poss-MEIN SONNE", "c": "WIND STARK WIND", "d": ""}
SIGNERS = {"a": "anna", "b": "ben", "c": "anna", "d": "zoë"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the working directory, with the sentences in every format."""
    monkeypatch.chdir(tmp_path)
    for stem, sentences in (("hyp", HYPOTHESES), ("ref", REFERENCES)):
        Path(f"{stem}.tsv").write_text("name\tsigner\tgloss\n" + "".join(f"{name}\t{SIGNERS[name]}\t{text}\n" for name, text in sentences.items()))
        rows = [json.dumps({"name": name, "signer": SIGNERS[name], "sentence": text}) + "\n" for name, text in sentences.items()]
        Path(f"{stem}.jsonl").write_text("".join(rows))
    Path("ref.stm").write_text("".join(f"{name} 1 {SIGNERS[name]} 0.0 1.79769e+308 {text}\n" for name, text in REFERENCES.items()))
    lines = [f"{name} 1 {k / 100:.2f} {(k + 1) / 100:.2f} {word}\n" for name, text in HYPOTHESES.items() for k, word in enumerate(text.split())]
    Path("hyp.ctm").write_text("".join(lines) + "d 1 0.00 0.01 [EMPTY]\n")
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command's JSON, for `--hyp`, `--ref` and more."""

    def scored(hyp: str, ref: str, *more: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["--hyp", hyp, "--ref", ref, "--corpus", "phoenix2014t", "--format", "json", *more]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out)
        return record

    return scored


@pytest.mark.parametrize("convention", ["sclite", "vac_python", "wer_list", "none"])
def test_any_mix_of_formats_gives_the_same_counts(convention: Any, run: Run) -> None:
    wanted = word_errors(*both_sides(list(REFERENCES.values()), list(HYPOTHESES.values()), "phoenix2014t", convention))
    for hyp in ("hyp.ctm", "hyp.tsv", "hyp.jsonl"):
        for ref in ("ref.stm", "ref.tsv", "ref.jsonl"):
            record = run(hyp, ref, "--convention", convention)
            assert (record["substitutions"], record["deletions"], record["insertions"]) == (wanted.substitutions, wanted.deletions, wanted.insertions)
            assert record["wer"] == pytest.approx(wanted.rate)
            assert (record["convention"], record["corpus"], record["problems"]) == (convention, "phoenix2014t", [])
            assert convention not in record["wer_by_other_conventions"]
            assert sum(signer["reference_glosses"] for signer in record["signers"].values()) == wanted.reference_tokens
            assert record["interval"]["low"] <= record["wer"] <= record["interval"]["high"]


def test_the_default_convention_is_the_one_that_the_formats_were_published_with(run: Run) -> None:
    assert run("hyp.ctm", "ref.stm")["convention"] == "sclite"
    assert run("hyp.jsonl", "ref.stm")["convention"] == "wer_list"


def test_the_table_is_sclites(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hyp", "hyp.ctm", "--ref", "ref.stm", "--corpus", "phoenix2014-T", "--compare", "hyp.tsv", "--alignments"]) == 0
    printed, warnings = capsys.readouterr()
    assert warnings == ""
    assert [line for line in printed.splitlines() if line.startswith("| ")][1:] == [
        "| SPKR    |  # Snt   # Wrd |   Corr    Sub    Del    Ins    Err  S.Err |",
        "| anna    |      2       8 |   62.5   12.5   25.0    0.0   37.5  100.0 |",
        "| ben     |      1       2 |   50.0   50.0    0.0    0.0   50.0  100.0 |",
        "| zoë     |      1       1 |    0.0  100.0    0.0    0.0  100.0  100.0 |",
        "| Sum/Avg |      4      11 |   54.5   27.3   18.2    0.0   45.5  100.0 |",
        "| Mean    |    1.3     3.7 |   37.5   54.2    8.3    0.0   62.5  100.0 |",
        "| S.D.    |    0.6     3.8 |   33.1   43.9   14.4    0.0   33.1    0.0 |",
        "| Median  |    1.0     2.0 |   50.0   50.0    0.0    0.0   50.0  100.0 |",
    ]
    assert len({len(line) for line in printed.splitlines()[:14]}) == 1
    for expected in (
        "convention: sclite (sclite after the VAC family's clean-up",
        "WER 45.45 % [",
        "by other conventions: vac_python ",
        "by glosses in the reference: up to 4: ",
        "most confused: heute → [empty] (1), ",
        "WER hyp.ctm 45.45, hyp.tsv 45.45: difference +0.00 [+0.00, +0.00], p = 1.0000",
        "id: (a)\nScores: (#C #S #D #I) 2 1 0 0\nREF:  morgen regen nord\nHYP:  morgen nord  nord\nEval:        S",
    ):
        assert expected in printed


def test_evaluate_hands_score_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["score", "--hyp", "hyp.ctm", "--ref", "ref.stm", "--corpus", "none", "--resamples", "0"]) == 0
    assert "WER 36.36 %\n" in capsys.readouterr().out


def test_what_evaluate_writes_is_read_on_both_sides(folder: Path, run: Run) -> None:
    rows = [{"name": name, "reference": REFERENCES[name], "hypotheses": {"ensemble": HYPOTHESES[name], "fuse": REFERENCES[name]}} for name in REFERENCES]
    Path("predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert run("predictions.jsonl", "predictions.jsonl")["wer"] == run("hyp.tsv", "ref.tsv")["wer"]
    assert run("predictions.jsonl", "predictions.jsonl", "--hyp-field", "fuse")["wer"] == 0


def test_two_runs_are_compared_on_the_same_clips(run: Run) -> None:
    record = run("hyp.tsv", "ref.tsv", "--compare", "ref.tsv", "--seed", "3")
    assert record["comparison"]["hypotheses"] == "ref.tsv"
    assert (record["comparison"]["wer"], record["comparison"]["difference"]["value"]) == (0, pytest.approx(-record["wer"]))
    assert 0 < record["comparison"]["p_value"] <= 1
    assert run("hyp.tsv", "ref.tsv", "--compare", "ref.tsv", "--seed", "3") == record


def test_sentences_are_listed_on_demand(run: Run) -> None:
    record = run("hyp.ctm", "ref.stm", "--alignments")
    assert record["sentences"][0] | {"wer": 0} == {
        "name": "a",
        "signer": "anna",
        "reference": "morgen regen nord",
        "hypothesis": "morgen nord nord",
        "wer": 0,
        "substitutions": 1,
        "deletions": 0,
        "insertions": 0,
        "correct": 2,
        "reference_glosses": 3,
    }
    assert "sentences" not in run("hyp.ctm", "ref.stm")


def test_what_was_compared_can_be_scored_by_sclite_itself(run: Run) -> None:
    first = run("hyp.tsv", "ref.tsv", "--export", "exported")
    assert run("exported/hypotheses.ctm", "exported/references.stm", "--corpus", "none", "--convention", "none")["wer"] == first["wer"]
    assert Path("exported/references.stm").read_text().startswith("a 1 anna 0.0 1.79769e+308 MORGEN REGEN NORD\n")


def test_nothing_is_silent(folder: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.tsv").write_bytes("name\tgloss\na\tMORGEN\na\tREGEN\nb\tSCHÖN\nx\tREGEN\nd\n".encode("latin-1"))
    Path("ref2.tsv").write_text("name\tgloss\na\tMORGEN\nb\tSONNE\nc\t__EMOTION__\nd\tHEUTE\n")
    record = run("bad.tsv", "ref2.tsv")
    assert record["reference_glosses"] == 3
    kinds = ["duplicate_name", "undecodable", "malformed", "missing_hypothesis", "missing_hypothesis", "unknown_hypothesis", "empty_reference"]
    assert sorted(problem["kind"] for problem in record["problems"]) == sorted(kinds)
    assert main(["--hyp", "bad.tsv", "--ref", "ref2.tsv", "--corpus", "phoenix2014t", "--strict"]) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert sorted(told.splitlines()) == sorted(f"error: {problem['text']}" for problem in record["problems"])
    for expected in (
        "error: bad.tsv:3: a a second time, the first is line 2: only that one is scored\n",
        "error: bad.tsv: no hypothesis for c (ref2.tsv:4): scored as empty\n",
        "error: bad.tsv:5: no reference for x in ref2.tsv: not scored\n",
        "error: the reference of c is empty: its clean-up (wer_list) leaves nothing of '__EMOTION__'; what was recognised counts as inserted\n",
    ):
        assert expected in told


def test_strict_is_content_with_clean_files(run: Run) -> None:
    assert run("hyp.ctm", "ref.stm", "--strict")["problems"] == []


def test_many_messages_of_a_kind_are_cut_short(folder: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    count = MOST_TOLD + 3
    Path("long.tsv").write_text("a\tA\n" + "".join(f"x{number}\tA\n" for number in range(count)))
    capsys.readouterr()
    main(["--hyp", "hyp.tsv", "--ref", "long.tsv", "--corpus", "none"])
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "no hypothesis for" in line][-1].endswith(f"x{MOST_TOLD - 1} (long.tsv:{MOST_TOLD + 1}): scored as empty")
    assert "warning: and 3 more of the kind missing hypothesis (--format json lists all)" in told
    assert len(run("hyp.tsv", "long.tsv")["problems"]) == count + 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "phoenix2014x"], "no corpus is called 'phoenix2014x': did you mean phoenix2014"),
        (["--corpus", "none", "--hyp", "none.tsv"], "none.tsv: can't be read: No such file"),
        (["--corpus", "none", "--hyp", "other.tsv"], "other.tsv and ref.tsv have no name in common: their first are 'dev/a' and 'a'"),
        (["--corpus", "none", "--ref", "silent.tsv"], "the references hold no gloss at all"),
    ],
)
def test_what_cannot_be_scored_is_one_line(arguments: list[str], message: str, folder: Path) -> None:
    Path("other.tsv").write_text("dev/a\tA\n")
    Path("silent.tsv").write_text("a\t\n")
    with pytest.raises(CorpusError, match=message):
        main(["--hyp", "hyp.tsv", "--ref", "ref.tsv", *arguments])


@pytest.mark.parametrize(
    "arguments", [["--preset", "zh"], ["--text", "--convention", "none"], ["--resamples", "-1"], ["--seed", "-1"], ["--task", "both"], ["--export", "ref.tsv"]]
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], folder: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--hyp", "hyp.tsv", "--ref", "ref.tsv", "--corpus", "none", *arguments])
    assert ended.value.code == 2


def test_a_comparison_without_resamples_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--hyp", "hyp.tsv", "--ref", "ref.tsv", "--corpus", "none", "--compare", "hyp.tsv", "--resamples", "0"])
    assert "--compare needs --resamples above 0" in capsys.readouterr().err


TEXTS = (["es regnet im norden .", "morgen scheint die sonne .", "wind ."], ["es regnet im süden.", "morgen scheint die sonne .", ""])


@pytest.fixture
def texts(folder: Path) -> tuple[str, str]:
    for name, lines in zip(("t_ref.tsv", "t_hyp.tsv"), TEXTS, strict=True):
        Path(name).write_text("name\tgloss\ttext\n" + "".join(f"{number}\tX\t{line}\n" for number, line in enumerate(lines)))
    return "t_hyp.tsv", "t_ref.tsv"


def test_translations_are_scored_by_the_corpus_preset(texts: tuple[str, str], run: Run) -> None:
    record = run(*texts, "--text")
    split = [text.replace("süden.", "süden .") for text in TEXTS[1]]
    assert (record["preset"], record["num_sentences"]) == ("phoenix2014t", 3)
    assert record["bleu4"] == corpus_bleu(TEXTS[0], split).bleu4
    assert record["rouge_l"] == corpus_rouge_l(TEXTS[0], split)
    assert record["intervals"]["BLEU-4"]["value"] == pytest.approx(record["bleu4"])
    other = run(*texts, "--task", "translation", "--preset", "13a", "--compare", texts[1])
    assert "tok:13a" in other["bleu_signature"]
    assert other["comparison"]["BLEU-4"]["b"] == pytest.approx(100)
    assert run(*texts, "--text", "--resamples", "0")["intervals"] == {}


def test_translations_as_a_table(texts: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hyp", texts[0], "--ref", texts[1], "--corpus", "phoenix2014t", "--text", "--compare", texts[1]]) == 0
    printed = capsys.readouterr().out
    for expected in ("preset phoenix2014t: words as they stand", "BLEU-1 ", "ROUGE-L ", "chrF ", "tok:none|smooth:none", "ROUGE-L t_hyp.tsv ", "p = "):
        assert expected in printed


def test_speakers_without_tokens_have_no_percentages() -> None:
    table = summary_table("x", {"(not stated)": [word_errors([[]], [["A"]])], "是": [word_errors([["A"]], [["A"]])]})
    assert "| (not stated) |      1       0 |      -      -      -      -      -      - |" in table
    assert any(line.startswith("| 是           |") for line in table)
    assert list(alignment_lines("n", [], [], word_errors([[]], [[]])))[2:] == ["REF:", "HYP:", "Eval:", ""]
    assert list(alignment_lines("n", ["我", "A"], ["我"], word_errors([["我", "A"]], [["我"]])))[2:5] == ["REF:  我 A", "HYP:  我 *", "Eval:    D"]
