"""Prune an mBART to a corpus: the language model that a translator starts from. Nothing is downloaded.

    python workloads/prune_mbart.py --mbart mbart-large-cc25 --shards data/phoenix2014t --language de_DE --out models/mbart_phoenix2014t
    python workloads/prune_mbart.py --released mBart_de --language de_DE --out models/mbart_phoenix2014t

--mbart is a folder with config.json, sentencepiece.bpe.model and model.safetensors or pytorch_model.bin. Kept are the special tokens and every
sub-word of the corpus's texts and glosses, of all splits; each gloss gets the mean of its sub-words as its embedding.

--released takes over a folder that was pruned already, as the published repositories hand it out beside their checkpoints: with map_ids.pkl or
old2new_vocab.pkl, gloss2ids.pkl and gloss_embeddings.bin. Released checkpoints of translators fit that folder only, and no pruning of one's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from torch import Tensor

from models.errors import CorpusError
from models.translation.config import UNK
from models.translation.language_model import OPTIONAL, TIED
from models.translation.pruning import prune, read_full
from models.translation.released import import_released
from models.translation.tokens import LANGUAGES, TextTokens
from workloads.entry import run_entry_point
from workloads.shards import ShardSet

REPORT_FILE = "report.json"


def prune_mbart(mbart: Path, shards: Sequence[ShardSet], *, language: str, out: Path) -> dict[str, Any]:
    """Prune to the texts and glosses of shards; returns, and writes to `out`, the sizes before and after.

    Raises CorpusError where no recording has a text, CheckpointError, VocabularyError for a folder that is no whole mBART.
    """
    rows = [row for each in shards for split in each.splits for row in each.index(split)]
    texts = [row.text for row in rows if row.text]
    if not texts:
        raise CorpusError("no recording of these shards has a text: there is nothing to prune to")
    full = read_full(mbart)
    glosses = [gloss for row in rows for gloss in row.glosses or ()]
    model = prune(full, texts=texts, glosses=glosses, language=language, out=out)
    width = full.mbart.d_model
    before = full.mbart.vocab_size
    report = {
        "language": language,
        "sentences": len(texts),
        "text_tokens": {"before": before, "after": model.mbart.vocab_size},
        "glosses": len(model.tokens.glosses.entries),
        "parameters": {"before": _parameters(full.state), "after": _parameters(full.state) - (before - model.mbart.vocab_size) * width},
        "unknown_share": _unknown_share(model.tokens.text, texts),
    }
    (out / REPORT_FILE).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def _parameters(state: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for name, value in state.items() if name not in TIED and name != OPTIONAL)


def _unknown_share(tokens: TextTokens, texts: Sequence[str]) -> float:
    ids = [index for text in texts for index in tokens.encode(text)[:-2]]
    return ids.count(UNK) / max(1, len(ids))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.mbart) != bool(given.shards):
        parser.error("--mbart and --shards go together: the model is pruned to their texts; --released is taken as it is")
    if given.released:
        model = import_released(given.released, language=given.language, out=given.out)
        print(f"text tokens {model.mbart.vocab_size:,}, {len(model.tokens.glosses.entries):,} glosses, as released\n{given.out}: set init.translator to it")
        return
    report = prune_mbart(given.mbart, [ShardSet.open(path) for path in given.shards], language=given.language, out=given.out)
    tokens, parameters = report["text_tokens"], report["parameters"]
    print(
        f"text tokens {tokens['before']:,} → {tokens['after']:,}, parameters {parameters['before']:,} → {parameters['after']:,}, {report['glosses']:,} glosses"
    )
    if report["unknown_share"]:
        print(f"{100 * report['unknown_share']:.2f} % of the texts' tokens are unknown to the SentencePiece model")
    print(f"{given.out}: set init.translator to it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prune_mbart.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--mbart", type=Path, metavar="DIR", help="folder of the whole mBART")
    source.add_argument("--released", type=Path, metavar="DIR", help="folder of a pruned one, as the published repositories have it")
    parser.add_argument(
        "--shards", type=Path, action="append", default=[], metavar="DIR", help="folder that workloads/preprocess.py wrote; may be given more than once"
    )
    parser.add_argument("--language", required=True, choices=LANGUAGES, metavar="CODE", help="the texts' language, such as de_DE or zh_CN")
    parser.add_argument("--out", required=True, type=Path, help="folder of the pruned model")
    return parser


if __name__ == "__main__":
    run_entry_point(main, (OSError,))
