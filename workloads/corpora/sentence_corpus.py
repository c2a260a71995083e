"""Phoenix-2014, Phoenix-2014T and CSL-Daily with their pictures: as downloaded, or in the zip and pickles of the TwoStream repository.

What lies in the folder decides. Annotation: the corpus's own tables, or `<stem>.train`, `.dev`, `.test` as gzipped pickles. Pictures: the folders of the
download, or one zip. Keypoints: `<stem>-keypoints.pkl` (name → keypoints), or the pickles of the keypoint release, joined by name; they are held in memory.
Where there are only the pickles of the keypoint release, they are the corpus (keypoint_release.py). Options: pictures=FOLDER or ZIP, keypoints=FILE or
FOLDER where they lie elsewhere; annotation=NAME reads `<stem>_NAME.train`, .dev and .test: Phoenix-2014T has a `cleaned` one, with umlauts, whose vocabulary
is `gloss2ids_old.pkl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from models.errors import CorpusError
from models.pickles import load_pickle
from workloads.corpora.annotations import SPLITS, Sentence, is_gzipped, read_pickled
from workloads.corpora.corpus import Corpus, Part, Rejection, file_digest, text_digest
from workloads.corpora.keypoint_release import VOCABULARY, KeypointRelease, keypoints_of, read_release
from workloads.corpora.picture_store import FolderStore, Key, Store, ZipStore
from workloads.corpora.recording import Recording

RECORDINGS_PER_PART = 64  # some ten seconds of encoding, which a killed run does again at most
OPTIONS = ("pictures", "keypoints", "annotation")
VOCABULARIES = {"cleaned": "gloss2ids_old.pkl"}  # by the name of an annotation


@dataclass(frozen=True, kw_only=True)
class SentenceCorpus:
    """What the files of a published corpus don't say themselves.

    annotation: reads the tables of the download in a folder, or None where they aren't there. tables: their names, for messages.
    picture_folders: where the folders of the download may be, the first that exists counts; places: a recording's folder in them. key: a name's identity.
    """

    release: KeypointRelease
    annotation: Callable[[Path], tuple[list[Sentence], list[Path]] | None]
    roots: tuple[str, ...]
    tables: str
    picture_folders: tuple[str, ...]
    places: tuple[str, ...]
    key: Key


def read_sentences(corpus: SentenceCorpus, source: Path | None, options: Mapping[str, str]) -> Corpus:
    """The corpus in folder `source`. Errors: CorpusError in one line for what is missing or damaged, and for an unknown option."""
    release = corpus.release
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise CorpusError(f"corpus {release.corpus} has no option {unknown[0]!r}; its options are {', '.join(OPTIONS)}")
    if source is None or not source.is_dir():
        what = f"corpus {release.corpus} needs --source" if source is None else f"{source}: no such folder; corpus {release.corpus} is read from"
        raise CorpusError(f"{what}{':' if source is None else ''} the folder of its download, or of {release.stem}.train, .dev and .test")
    named = options.get("annotation")
    pickles = _pickles(release, source, named)
    if named and not (pickles and all(is_gzipped(path) for path in pickles.values())):
        raise CorpusError(
            f"{source}: --set annotation={named}: {release.stem}_{named}.train, .dev and .test aren't there, or are no annotation (gzipped pickles)"
        )
    annotated = _annotated(corpus, source, pickles)
    if annotated is None:
        others = sorted({path.stem for path in source.iterdir() if path.name.lower().startswith(f"{release.stem}_".lower()) and path.suffix[1:] in SPLITS})
        if others and not pickles:
            raise CorpusError(f"{source}: there is only another annotation, {others[0]}: read it with --set annotation={others[0][len(release.stem) + 1 :]}")
        if not any(path.name.lower().startswith(f"{release.stem}.".lower()) for path in source.iterdir()):
            raise CorpusError(
                f"{source}: neither {corpus.tables} nor {release.stem}.train, .dev, .test are there: give the folder of the download, or of the pickles"
            )
        if options:
            raise CorpusError(f"{source}: option {next(iter(options))} has no use beside the keypoint release alone: the corpus's own annotation isn't there")
        return read_release(release, source, {})
    sentences, files = annotated
    store = _store(corpus, source, options)
    keypoints, keypoint_files = _keypoints(corpus, source, options)
    if store is None and not keypoint_files:
        raise CorpusError(
            f"{source}: has annotation, and neither pictures ({', '.join(corpus.picture_folders)} or a .zip) nor {release.stem}-keypoints.pkl: "
            "name them by --set pictures=FOLDER or --set keypoints=FILE"
        )
    recordings, rejections = _recordings(corpus, sentences, store, keypoints if keypoint_files else None)
    return Corpus(
        name=release.corpus,
        licence=release.licence,
        lower_case=release.lower_case,
        fingerprint=text_digest(" ".join([*map(file_digest, [*files, *keypoint_files]), store.stamp if store else ""])),
        parts=tuple(_parts(recordings)),
        vocabulary=next((path for path in (source / VOCABULARIES.get(named or "", VOCABULARY),) if path.is_file()), None),
        rejections=tuple(rejections),
    )


def _pickles(release: KeypointRelease, folder: Path, named: str | None = None) -> dict[str, Path]:
    """Split → its pickle, whatever the case of its name; empty unless all are there. named: of which annotation, None of the corpus's own."""
    present, stem = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}, f"{release.stem}_{named}" if named else release.stem
    found = {split: present.get(f"{stem}.{split}".lower()) for split in SPLITS}
    return {split: path.resolve() for split, path in found.items() if path} if all(found.values()) else {}


def _annotated(corpus: SentenceCorpus, source: Path, pickles: Mapping[str, Path]) -> tuple[list[Sentence], list[Path]] | None:
    if pickles and all(is_gzipped(path) for path in pickles.values()):
        return [sentence for split, path in pickles.items() for sentence in read_pickled(path, split)], list(pickles.values())
    for root in corpus.roots:
        found = corpus.annotation(source / root)
        if found is not None:
            return found
    return None


def _store(corpus: SentenceCorpus, source: Path, options: Mapping[str, str]) -> Store | None:
    fps = corpus.release.fps
    if "pictures" in options:
        given = Path(options["pictures"])
        if not given.exists():
            raise CorpusError(f"--set pictures={given}: no such folder or zip")
        return FolderStore(given, corpus.places, fps) if given.is_dir() else ZipStore(given, corpus.key, fps)
    for root in corpus.roots:
        for pattern in corpus.picture_folders:
            folders = sorted((source / root).glob(pattern))
            if folders:
                return FolderStore(folders[0], corpus.places, fps)
    zips = sorted(source.glob("*.zip"))
    if len(zips) > 1:
        raise CorpusError(f"{source}: which zip holds the pictures? There are {', '.join(path.name for path in zips)}: --set pictures=ZIP")
    return ZipStore(zips[0], corpus.key, fps) if zips else None


def _keypoints(corpus: SentenceCorpus, source: Path, options: Mapping[str, str]) -> tuple[dict[str, np.ndarray], list[Path]]:
    """Keypoints by the recordings' identities, and the files that they are from."""
    files = _keypoint_files(corpus.release, source, options)
    found: dict[str, np.ndarray] = {}
    for path in files:
        samples = load_pickle(path)
        if not isinstance(samples, dict):
            raise CorpusError(f"{path}: holds a {type(samples).__name__}, and a dict from name to keypoints is expected")
        for name in list(samples):
            points = keypoints_of(samples.pop(name))
            if points is not None:
                found[corpus.key(str(name))] = points
    return found, files


def _keypoint_files(release: KeypointRelease, source: Path, options: Mapping[str, str]) -> list[Path]:
    if "keypoints" in options:
        given = Path(options["keypoints"])
        files = list(_pickles(release, given).values()) if given.is_dir() else [given] if given.is_file() else []
        if not files:
            raise CorpusError(f"--set keypoints={given}: no file of keypoints, nor a folder of {release.stem}.train, .dev and .test")
        return files
    one = next((path for path in sorted(source.iterdir()) if path.name.lower() == f"{release.stem}-keypoints.pkl".lower()), None)
    if one is not None:
        return [one]
    return [path for path in _pickles(release, source).values() if not is_gzipped(path)]


def _recordings(
    corpus: SentenceCorpus, sentences: Sequence[Sentence], store: Store | None, keypoints: Mapping[str, np.ndarray] | None
) -> tuple[list[Recording], list[Rejection]]:
    recordings: list[Recording] = []
    rejections: list[Rejection] = []
    for sentence in sentences:
        name, split = sentence.name, sentence.split
        opened = store.find(corpus.key(name), split, sentence.num_frames) if store else None
        points = keypoints.get(corpus.key(name)) if keypoints is not None else None
        if store and opened is None:
            rejections.append(Rejection(name=name, split=split, reason=f"no pictures: {store.looked_for(corpus.key(name), split)} isn't there"))
        elif keypoints is not None and points is None:
            rejections.append(Rejection(name=name, split=split, reason="no keypoints: the keypoint file has none of this name"))
        else:
            release = corpus.release
            recordings.append(
                Recording(
                    name=name,
                    split=split,
                    signer=sentence.signer or (release.signer_of(name) if release.signer_of else ""),
                    keypoints=points,
                    filmed=opened,
                    glosses=tuple((sentence.gloss or "").split()) or None,
                    text=sentence.text or None,
                    fps=release.fps,
                    width=release.width if points is not None else None,
                    height=release.height if points is not None else None,
                )
            )
    return recordings, rejections


def _parts(recordings: Sequence[Recording]) -> Iterator[Part]:
    for split in SPLITS:
        members = [recording for recording in recordings if recording.split == split]
        for start in range(0, len(members), RECORDINGS_PER_PART):
            block = tuple(members[start : start + RECORDINGS_PER_PART])
            num_bytes = sum(0 if recording.keypoints is None else recording.keypoints.nbytes for recording in block)
            yield Part(split=split, read=partial(iter, block), num_bytes=num_bytes, num_recordings=len(block))
