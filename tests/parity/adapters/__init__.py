"""The kinds of parity case that are built: kind → module with `run(case: Case, report: Report) -> None`.

An adapter makes the case's inputs by its recipes, runs our code and hands every expected figure to the report. To add a kind,
write its module here and add its line. Modules are imported when a file of their kind is run.
"""

from __future__ import annotations

ADAPTERS: dict[str, str] = {
    "ctc_beam": "tests.parity.adapters.ctc_beam",
    "ctc_beam_decode": "tests.parity.adapters.ctc_beam_decode",
    "ctc_beam_search": "tests.parity.adapters.ctc_beam_search",
    "dsta_slr": "tests.parity.adapters.dsta_slr",
    "dsta_streams": "tests.parity.adapters.dsta_streams",
    "bleu_rouge": "tests.parity.adapters.bleu_rouge",
    "keypoint_heatmaps": "tests.parity.adapters.keypoint_heatmaps",
    "mska_collate": "tests.parity.adapters.mska_collate",
    "mska_ctc_decode": "tests.parity.adapters.mska_ctc_decode",
    "mska_metrics": "tests.parity.adapters.mska_metrics",
    "mska_slr": "tests.parity.adapters.mska_slr",
    "mska_slt": "tests.parity.adapters.mska_slt",
    "s3d_backbone": "tests.parity.adapters.s3d_backbone",
    "singlestream_slr": "tests.parity.adapters.singlestream_slr",
    "singlestream_slt": "tests.parity.adapters.singlestream_slt",
    "singlestream_slt_embedding": "tests.parity.adapters.singlestream_slt",
    "corrnet": "tests.parity.adapters.corrnet",
    "mstfnet": "tests.parity.adapters.mstfnet",
    "mstfnet_shared": "tests.parity.adapters.mstfnet",
    "slowfast_pkl_import": "tests.parity.adapters.slowfast_pkl_import",
    "slowfastsign": "tests.parity.adapters.slowfastsign",
    "temporal_conv_padding": "tests.parity.adapters.temporal_conv_padding",
    "twostream_metrics": "tests.parity.adapters.twostream_metrics",
    "twostream_sampling": "tests.parity.adapters.twostream_sampling",
    "twostream_slr": "tests.parity.adapters.twostream_slr",
    "twostream_slt_ensemble": "tests.parity.adapters.twostream_slt_ensemble",
    "visual_head_training": "tests.parity.adapters.visual_head_training",
    "wer": "tests.parity.adapters.wer",
    "wer_scoring": "tests.parity.adapters.wer_scoring",
}
