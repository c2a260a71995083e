"""The format in which DSTA-SLR published isolated signs (dsta_slr.md, section 1).

A folder of `train_data_joint.npy` and `train_label.pkl`, and the same for `val` and, where there is one, `test`: an array [N, 3, T, 27, 1] of
x, y in pixels and confidence, and a pickled pair of N names and N class ids. The evaluation split of the published protocol is `val`; here it is `dev`.
Clips stay as they are: 150 frames, the shorter ones repeated from their start; infinite numbers become 0, as published, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from models.errors import CorpusError
from models.pickles import load_pickle
from workloads.corpora.class_list import read_class_list, repeated_names
from workloads.corpora.corpus import Corpus, Part, Rejection, file_digest, text_digest
from workloads.corpora.recording import Recording

NUM_JOINTS = 27
PICTURE = 512  # the published mirror is x ← 512 - x: frames were taken as 512 wide
SPLITS = {"train": "train", "dev": "val", "test": "test"}  # our name → that of the files
REQUIRED = ("train", "dev")
CLIPS_PER_PART = 512  # about 25 MB
CLASS_FILES = ("classes.json", "classes.csv", "classes.tsv", "classes.txt")
OPTIONS = ("classes", "classes_file")


@dataclass(frozen=True, kw_only=True)
class SkeletonRelease:
    """What a published corpus's files don't say themselves.

    sizes: numbers of classes of its published subsets; each holds the first classes of the next, for class ids go by frequency.
    class_files: names under which its class list is found beside the data. signer_of: finds the signer in a clip's name.
    """

    corpus: str
    licence: str
    sizes: tuple[int, ...]
    class_files: tuple[str, ...]
    signer_of: Callable[[str], str] | None = None


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The files of one split, checked against each other. ids: each clip's class."""

    split: str
    data: Path
    labels: Path
    num_bytes: int  # of one clip
    names: tuple[str, ...]
    ids: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Clips of one part: their places in the array, names and labels. It travels to other processes without the rest of the split."""

    split: str
    data: Path
    places: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    signer_of: Callable[[str], str] | None


def read_skeletons(release: SkeletonRelease, source: Path | None, options: Mapping[str, str]) -> Corpus:
    """The corpus in folder `source`, or the part of it that option `classes` chooses.

    Errors: CorpusError in one line where a file is missing or damaged, files don't fit each other, or an option is unknown or wrong.
    """
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise CorpusError(f"corpus {release.corpus} has no option {unknown[0]!r}; its options are {', '.join(OPTIONS)}")
    if source is None:
        raise CorpusError(f"corpus {release.corpus} needs --source: the folder of train_data_joint.npy, train_label.pkl, val_data_joint.npy, val_label.pkl")
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; corpus {release.corpus} is read from the folder of train_data_joint.npy and its companions")
    present = {path.name.lower(): path.resolve() for path in sorted(source.iterdir()) if path.is_file()}
    splits = [_read_split(split, *files, release.sizes[-1]) for split, files in _files(release, source, present).items()]
    num_classes = _num_classes(release, splits, options)
    class_file = _class_file(release, present, options)
    names = read_class_list(class_file, num_classes) if class_file else tuple(map(str, range(num_classes)))
    parts, rejections = _parts(splits, names, release)
    files = [path for split in splits for path in (split.data, split.labels)] + ([class_file] if class_file else [])
    return Corpus(
        name=release.corpus,
        licence=release.licence,
        lower_case=False,
        fingerprint=text_digest(" ".join([str(num_classes), *map(file_digest, files)])),
        parts=parts,
        num_keypoints=NUM_JOINTS,
        classes=names,
        classes_source=class_file.name if class_file else "",
        rejections=rejections,
        notes=tuple(_notes(release, source, splits, names, class_file)),
    )


def _files(release: SkeletonRelease, source: Path, present: Mapping[str, Path]) -> dict[str, tuple[Path, Path]]:
    """Split → its array and label files. A split is there where either is; CorpusError names what is missing."""
    files = {}
    for split, stem in SPLITS.items():
        names = (f"{stem}_data_joint.npy", f"{stem}_label.pkl")
        found = [present.get(name) for name in names]
        missing = [name for name, path in zip(names, found, strict=True) if path is None]
        if missing and (split in REQUIRED or len(missing) == 1):
            raise CorpusError(f"{source}: {' and '.join(missing)} missing; corpus {release.corpus} needs the array and the labels of train and of val")
        data, labels = found
        if data and labels:
            files[split] = (data, labels)
    return files


def _read_split(split: str, data: Path, labels: Path, num_classes: int) -> _Split:
    array = _array(data)
    names, ids = _labels(labels, num_classes)
    if len(array) != len(names):
        raise CorpusError(f"{data} holds {len(array):,} clips and {labels.name} labels {len(names):,}: the two belong to different releases, get both again")
    return _Split(split=split, data=data, labels=labels, num_bytes=array.nbytes // max(len(array), 1), names=names, ids=ids)


def _array(path: Path) -> np.ndarray:
    """The memory-mapped array [N, 3, T, 27, 1]."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror or error})") from None
    except (ValueError, EOFError, SyntaxError) as error:
        raise CorpusError(f"{path}: not a readable .npy file, truncated or damaged ({' '.join(str(error).split())[:100]}): get it again") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise CorpusError(f"{path}: holds {getattr(array, 'dtype', type(array).__name__)}, and one array of float32 is expected")
    if array.ndim != 5 or array.shape[1] != 3 or array.shape[3:] != (NUM_JOINTS, 1):
        raise CorpusError(f"{path}: an array of shape {array.shape}, and (clips, 3, frames, {NUM_JOINTS}, 1) is expected")
    return array


def _labels(path: Path, num_classes: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and class ids of a label file, checked."""
    pair = load_pickle(path)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(column, (tuple, list, np.ndarray)) for column in pair):
        raise CorpusError(f"{path}: holds a {type(pair).__name__}, and a pair of lists is expected: names and class ids")
    names, ids = pair
    if len(names) != len(ids):
        raise CorpusError(f"{path}: has {len(names):,} names and {len(ids):,} class ids: the file is damaged, get it again")
    for name, value in zip(names, ids, strict=True):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < num_classes:
            raise CorpusError(f"{path}: the class of {name!s} is {value!r}, and 0 to {num_classes - 1} is expected: the file is damaged or of another corpus")
    return tuple(map(str, names)), tuple(map(int, ids))


def _num_classes(release: SkeletonRelease, splits: Sequence[_Split], options: Mapping[str, str]) -> int:
    """What option `classes` says, else the smallest published subset that has all classes of the files."""
    highest = max((index for split in splits for index in split.ids), default=0)
    given = options.get("classes", str(next(size for size in release.sizes if highest < size)))
    if given not in map(str, release.sizes):
        raise CorpusError(f"corpus {release.corpus}: option classes is {given!r}, and its numbers of classes are {', '.join(map(str, release.sizes))}")
    return int(given)


def _class_file(release: SkeletonRelease, present: Mapping[str, Path], options: Mapping[str, str]) -> Path | None:
    if "classes_file" in options:
        return Path(options["classes_file"])
    return next((present[name.lower()] for name in (*release.class_files, *CLASS_FILES) if name.lower() in present), None)


def _parts(splits: Sequence[_Split], classes: Sequence[str], release: SkeletonRelease) -> tuple[tuple[Part, ...], tuple[Rejection, ...]]:
    """The clips of the chosen classes in pieces of a bounded size, in the order of the array; what repeats a name is rejected."""
    parts, rejections = [], []
    for split in splits:
        place_of: dict[str, int] = {}
        for place, (name, index) in enumerate(zip(split.names, split.ids, strict=True)):
            if index >= len(classes):
                continue
            if name in place_of:
                rejections.append(Rejection(name=name, split=split.split, reason="duplicate name: an earlier clip of the split has it and is kept"))
            else:
                place_of[name] = place
        places = list(place_of.values())
        for start in range(0, len(places), CLIPS_PER_PART):
            block = _block(split, places[start : start + CLIPS_PER_PART], classes, release.signer_of)
            parts.append(
                Part(split=split.split, read=partial(_recordings, block), num_bytes=len(block.places) * split.num_bytes, num_recordings=len(block.places))
            )
    return tuple(parts), tuple(rejections)


def _block(split: _Split, places: Sequence[int], classes: Sequence[str], signer_of: Callable[[str], str] | None) -> _Block:
    return _Block(
        split=split.split,
        data=split.data,
        places=tuple(places),
        names=tuple(split.names[place] for place in places),
        labels=tuple(classes[split.ids[place]] for place in places),
        signer_of=signer_of,
    )


def _recordings(block: _Block) -> Iterator[Recording]:
    array = _array(block.data)
    for place, name, label in zip(block.places, block.names, block.labels, strict=True):
        keypoints = np.ascontiguousarray(np.moveaxis(array[place, ..., 0], 0, -1), dtype=np.float32)  # a copy of this clip alone
        infinite = np.isinf(keypoints)
        keypoints[infinite] = 0.0
        yield Recording(
            name=name,
            split=block.split,
            signer=block.signer_of(name) if block.signer_of else "",
            keypoints=keypoints,
            num_zeroed=int(np.count_nonzero(infinite)),
            label=label,
            width=PICTURE,
            height=PICTURE,
        )


def _notes(release: SkeletonRelease, source: Path, splits: Sequence[_Split], classes: Sequence[str], class_file: Path | None) -> Iterator[str]:
    left_out = Counter(split.split for split in splits for index in split.ids if index >= len(classes))
    if left_out:
        counts = ", ".join(f"{count:,} of {split}" for split, count in left_out.items())
        yield f"{source}: {len(classes)} of {release.sizes[-1]} classes are taken; clips of the others are left out ({counts})"
    if class_file is None:
        usual = (*release.class_files, *CLASS_FILES)[0]
        yield f"{source}: no class list, so classes are named by their numbers; put {usual} beside the data, or --set classes_file=FILE"
    repeated = repeated_names(classes) if class_file else []
    if repeated:
        yield f"{class_file}: {len(repeated)} names stand for two classes; the later class has its number added: {', '.join(repeated[:5])}"
    if not any(split.split == "test" for split in splits):
        yield f"{source}: split dev is the release's val, which published figures are measured on; there is no test split"
