"""Show what a network's answer to a clip rests on: a slide (PNG) and a film (MP4) with the gloss timeline.

    python workloads/explain.py --bundle runs/demo/bundle clip.npz
    python workloads/explain.py --bundle runs/demo/bundle --shards data/demo 17_test --run runs/demo
    python workloads/explain.py --bundle runs/demo/bundle clip.mp4 --pose rtmw.onnx
    python workloads/explain.py --bundle runs/demo/bundle clip.npz --layer streams.body.blocks.7 --gloss REGEN
    python workloads/explain.py --bundle runs/demo/bundle clip.npz --list-layers

Grad-CAM over the pictures at any named layer; for keypoint networks the gradients of the points, or Grad-CAM at a layer over its joints, drawn
on the skeleton. Of an ensemble one member is explained, of a translation the glosses that it rests on and, in a slide of its own, where each word of
the text looked over time (cross-attention), with the likeliest texts.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import re
from collections.abc import Sequence

import torch

from models.bundle import Bundle
from models.ensemble import Ensemble
from models.errors import BundleError
from models.explanation import Explanation, drawable_layers, explain, recogniser_of
from models.inputs.clip import Clip
from models.translation.attention import TextAttention, attend
from workloads.bundles import BUNDLE_HELP, RUNS, TRACKING_HELP, on_disk, open_bundle
from workloads.corpora.recording import Recording
from workloads.entry import run_entry_point
from workloads.estimation import ExtractorCheck, add_pose_arguments, pose_for
from workloads.explaining.attention import draw_attention
from workloads.explaining.clips import clip_of_shards
from workloads.explaining.film import check_film, write_film
from workloads.explaining.slide import draw_slide
from workloads.explaining.tracked import log_files, tracked_run
from workloads.predict import frame_size
from workloads.recorded_clips import listed, read_clip

FOLDER = "explanations"


def write_explanation(explanation: Explanation, folder: Path, *, about: str, film: bool = True, attention: TextAttention | None = None) -> list[Path]:
    """`<clip>.png` and, unless told not to, `<clip>.mp4` in `folder`, which is made; of a translation `<clip>_text.png`, too. Returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "_", Path(explanation.clip.name).stem)[:80] or "clip"
    files = [folder / f"{stem}.png"]
    draw_slide(explanation, files[0], about=about)
    if attention is not None:
        files.append(folder / f"{stem}_text.png")
        draw_attention(attention, explanation, files[-1], about=about.partition(";")[0])
    if film:
        files.append(folder / f"{stem}.mp4")
        write_film(explanation, files[-1], about=about)
    return files


def chosen_member(bundle: Bundle | Ensemble, name: str | None) -> Bundle:
    """The network that is explained: of an ensemble the member of this name, else the one that counts most. Raises BundleError for a name that isn't there."""
    if isinstance(bundle, Bundle):
        if name is not None:
            raise BundleError(f"--member {name}: {bundle.folder} is one network, not an ensemble; leave --member out")
        return bundle
    if name is not None and name not in bundle.members:
        raise BundleError(f"--member {name}: no member of {bundle.folder}; there are {', '.join(bundle.members)}")
    return bundle.members[name or max(bundle.weights, key=lambda member: bundle.weights[member])]


def about_line(explanation: Explanation, bundle: Bundle) -> str:
    """Which network answered, on what it was trained, and what is shown."""
    what = f"Grad-CAM at {explanation.layer}" if explanation.layer else "gradient of each keypoint (bright: counts most)"
    return f"{explanation.system}, head {explanation.head}, trained on {bundle.corpus.name}; {what}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = _parser().parse_args(arguments)
    if not (given.no_film or given.list_layers):
        check_film()
    run = tracked_run(given.run) if given.run else None
    bundle = chosen_member(open_bundle(given.bundle, tracking_uri=given.tracking_uri), given.member)
    if given.head is not None and given.head not in bundle.answering:
        raise BundleError(f"--head {given.head}: no head of {bundle.system}; there are {', '.join(bundle.answering)}")
    whole = bundle.network("cuda" if torch.cuda.is_available() else "cpu")
    network = recogniser_of(whole)
    clip = _clip(given, bundle)
    if given.list_layers:
        for name, shape in drawable_layers(bundle, network, clip).items():
            print(f"{name}  {' × '.join(map(str, shape))}")
        return
    explanation = explain(bundle, network, clip, head=given.head, layer=given.layer, names=given.gloss)
    attention = attend(bundle, whole, clip) if bundle.translates else None
    about = about_line(explanation, bundle)
    files = write_explanation(explanation, given.out or _folder(given.bundle), about=about, film=not given.no_film, attention=attention)
    print(" ".join(sign.name for sign in explanation.signs), *([attention.text] if attention else []), f"{', '.join(map(str, files))} written", sep="\n")
    if run is not None:
        print(log_files(run, files))


def _clip(given: argparse.Namespace, bundle: Bundle) -> Clip:
    if given.shards is not None:
        return clip_of_shards(given.clip, given.shards, given.split, bundle.modalities)
    (recording,) = listed([Path(given.clip)], None, size=given.frame_size, fps=given.fps)
    assert isinstance(recording, Recording)
    check = ExtractorCheck(trained_on=bundle.corpus.extractors)
    return read_clip(recording, bundle.modalities, pose=pose_for(bundle, given), check=check)


def _folder(bundle: str) -> Path:
    return Path(bundle).resolve().parent / FOLDER if Path(bundle).is_dir() else RUNS / FOLDER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="explain.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", metavar="CLIP", help="video, folder of pictures or keypoint file (.npz, .pose); with --shards the name of a clip")
    parser.add_argument("--bundle", required=True, help=BUNDLE_HELP)
    parser.add_argument("--shards", type=Path, metavar="FOLDER", help="take the clip of this name from shards")
    parser.add_argument("--split", help="the split that holds it (default: all are looked through)")
    parser.add_argument("--member", metavar="NAME", help="of an ensemble: the member to explain (default: the one of the largest weight)")
    parser.add_argument("--head", help="the head whose answer is explained (default: the bundle's)")
    parser.add_argument(
        "--layer", metavar="NAME", help="layer for Grad-CAM, as --list-layers names it (default: the system's own; of keypoint systems gradients)"
    )
    parser.add_argument("--list-layers", action="store_true", help="print the layers at which there is something to draw, and stop")
    parser.add_argument("--gloss", action="append", default=[], metavar="NAME", help="explain this gloss or sign instead of the answer; may be repeated")
    parser.add_argument("--out", type=on_disk, metavar="FOLDER", help=f"where the files go (default: {FOLDER}/ beside a bundle's folder, else {RUNS / FOLDER})")
    parser.add_argument("--no-film", action="store_true", help="the slide only")
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of a run: log the files to it in MLflow")
    add_pose_arguments(parser)
    parser.add_argument("--frame-size", type=frame_size, metavar="WxH", help="width and height of a keypoint file's pictures, instead of what it says")
    parser.add_argument("--fps", type=float, help="frames per second of the file, instead of what it says")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    return parser


if __name__ == "__main__":
    run_entry_point(main, (OSError,))
