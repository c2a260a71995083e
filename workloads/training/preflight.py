"""What is looked at before a run starts, and what the run is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from models.errors import RecipeError, ShardError, TrainingError
from models.options import SentenceNetworkOptions
from models.systems import SYSTEMS
from models.translation.options import TranslationDecodingOptions
from workloads.part_runners import in_this_process
from workloads.preprocess import REWRITE, PreprocessOptions, preprocess
from workloads.recipe import Recipe
from workloads.shard_files import shard_location
from workloads.shards import IndexRow, ShardSet
from workloads.training.faults import some
from workloads.training.starting import check_starts
from workloads.training.tasks import SentenceTask, SignTask, Task
from workloads.training.translation_task import TranslationTask
from workloads.training.translator_start import tokens_of
from workloads.validation import steps_needed


def generate_shards(recipe: Recipe) -> None:
    """Make the shards of a recipe that trains on generated signing, where they aren't there yet.

    Raises ShardError where the folder holds shards that were made by other options.
    """
    if recipe.data.synthetic is not None:
        settings = {name: str(int(value)) if value == int(value) else repr(value) for name, value in recipe.data.synthetic.items()}
        try:
            preprocess(PreprocessOptions(corpus="synthetic", out=shard_location(recipe.data.shards), settings=settings), in_this_process)
        except ShardError as error:  # an older signray's, too
            raise ShardError(str(error).replace(REWRITE, "remove the folder, or choose another data.shards")) from None


def preflight(recipe: Recipe, shards: ShardSet) -> list[str]:
    """Warnings before a run starts. Raises RecipeError or TrainingError where it can't."""
    check_starts(recipe)
    missing = [modality for modality in recipe.inputs.modalities if modality not in shards.corpus.modalities]
    if missing:
        raise RecipeError(f"{shards.path}: clips without {' and '.join(missing)}, which {recipe.system} reads: preprocess recordings that have them")
    layouts = recipe.inputs.layouts
    if "keypoints" in recipe.inputs.modalities and shards.num_keypoints not in layouts:
        raise RecipeError(
            f"{shards.path}: clips of {shards.num_keypoints} keypoints, {recipe.system} is set to {' or '.join(map(str, layouts))}: "
            f"preprocess with --keypoints {layouts[0]}"
        )
    index = shards.index(recipe.data.train_split)
    shards.files(recipe.data.dev_split)
    isolated = SYSTEMS[recipe.system].task == "islr"
    unlabelled = [row.name for row in index if not (row.label if isolated else row.glosses)]
    if unlabelled:
        what, source = ("label", "labelled signs") if isolated else ("glosses", "gloss sentences")
        raise TrainingError(f"{len(unlabelled)} training clips have no {what}: {some(unlabelled)}: {recipe.system} learns from {source}; leave them out")
    if SYSTEMS[recipe.system].translates:
        _check_texts(recipe, index)
    return [] if isolated or not recipe.inputs.modalities else _too_long(recipe, shards, index)


def _check_texts(recipe: Recipe, index: Sequence[IndexRow]) -> None:
    """Raises TrainingError for training clips without a text, or one that the language model's position tables can't hold."""
    without = [row.name for row in index if not row.text]
    if without:
        raise TrainingError(f"{len(without)} training clips have no text: {some(without)}: {recipe.system} learns from spoken sentences; leave them out")
    tokens, longest = tokens_of(recipe).text, recipe.network.translator.mbart.max_position_embeddings  # type: ignore[attr-defined]
    over = [row.name for row in index if len(row.text or "") >= longest and len(tokens.encode(row.text or "")) > longest]
    if over:
        raise TrainingError(f"{len(over)} training clips have a text of more than {longest} tokens: {some(over)}: the language model can't hold them")


def _too_long(recipe: Recipe, shards: ShardSet, index: Sequence[IndexRow]) -> list[str]:
    """Warnings of clips that CTC can't align: at their own length, or only where training resamples them to its shortest."""
    inputs, network = recipe.inputs, recipe.network
    assert isinstance(network, SentenceNetworkOptions)
    needed = {row.name: steps_needed([shards.vocabulary.normalise(gloss) for gloss in row.glosses or ()]) for row in index}
    always = [row.name for row in index if needed[row.name] > network.num_steps(len(inputs.evaluation_frames(row.n_frames)))]
    others = [row for row in index if row.name not in set(always)]
    at_times = [row.name for row in others if needed[row.name] > network.num_steps(inputs.shortest_length(row.n_frames))]
    texts = []
    if always:
        texts.append(f"{len(always)} training clips have more glosses than time steps; CTC counts nothing for them: {some(always)}")
    if at_times:
        texts.append(f"{len(at_times)} training clips have too few time steps when training shortens them most, and count nothing then: {some(at_times)}")
    return texts


def task_of(recipe: Recipe, shards: ShardSet) -> Task:
    """What the run is about. Raises TrainingError where no dev clip is annotated: there is nothing to validate on."""
    rows = shards.index(recipe.data.dev_split)
    system = SYSTEMS[recipe.system]
    if system.task == "slr":
        sentences = {row.name: row.glosses for row in rows if row.glosses}
        _need_references(sentences, recipe, "glosses")
        task = SentenceTask(corpus=shards.corpus.corpus, vocabulary=shards.vocabulary, references=sentences, beam_width=recipe.validation.beam_width)
        return _translating(task, recipe, rows) if system.translates else task
    labels = {row.name: row.label for row in rows if row.label}
    _need_references(labels, recipe, "a label")
    clips = Counter(row.label for row in shards.index(recipe.data.train_split))
    return SignTask(classes=shards.classes, references=labels, class_counts=tuple(clips[label] for label in shards.classes.labels))


def _translating(task: SentenceTask, recipe: Recipe, rows: Sequence[IndexRow]) -> TranslationTask:
    """The task of a network that translates what `task` recognises, or the glosses that are given."""
    texts = {row.name: row.text for row in rows if row.text}
    _need_references(texts, recipe, "a text")
    assert isinstance(recipe.decoding, TranslationDecodingOptions)
    reads_clips = bool(recipe.inputs.modalities)
    return TranslationTask(
        corpus=task.corpus,
        vocabulary=task.vocabulary,
        sentences=task if reads_clips else None,
        tokens=tokens_of(recipe),
        texts=texts,
        generation=recipe.decoding.text.model_copy(update={"beam_width": recipe.validation.text_beam_width, "n_best": 1}),
    )


def _need_references(references: Mapping[str, object], recipe: Recipe, what: str) -> None:
    if not references:
        raise TrainingError(f"no clip of {recipe.data.dev_split} has {what}: nothing to validate on; choose another data.dev_split")


def steps_in_all(recipe: Recipe, shards: ShardSet) -> int:
    """Optimiser steps of the whole run."""
    clips = shards.corpus.splits[recipe.data.train_split].recordings // max(1, recipe.train.num_workers)
    return clips // recipe.train.batch_size // recipe.optim.accumulation * recipe.train.epochs
