"""CTC prefix beam search with the semantics of ctcdecode, as compiled loops (ctc_decoding.md, "ctcdecode semantics").

What makes it quick: an extension that doesn't enter the beam is never made a node (ctcdecode forgets it in the same step), so the tree
holds the prefixes in the beam and their ancestors only; a step walks the few children that these have, and compares the rest of the
pairs of prefix and token with the lowest score of a full beam.

The state between steps (`prefix_state.py`) can be carried from chunk to chunk of a stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.decoding.fusion import Fusion
from models.decoding.prefix_state import FREE, FREED, IMPOSSIBLE, IN_BEAM, MADE, NONE, ROOT, STEP, TAKEN, TURN, Beam, Pool, Tree
from models.jit import inlined, jit


@jit
def advance(
    tree: Tree,
    beam: Beam,
    pool: Pool,
    tokens_SN: NDArray[np.int32],
    log_probs_SN: NDArray[np.float32],
    counts_S: NDArray[np.int64],
    blank: int,
    fusion: Fusion,
) -> None:
    """Carry the search over S steps. The tree must have room for beam_width x S more nodes."""
    stay_blank, stay_emitted = np.empty(len(beam.nodes), np.float32), np.empty(len(beam.nodes), np.float32)
    former = np.empty(len(beam.nodes), np.int32)
    able = np.empty(tokens_SN.shape[1], np.int32)
    for step in range(len(tokens_SN)):
        tokens, log_probs = tokens_SN[step, : counts_S[step]], log_probs_SN[step, : counts_S[step]]
        for place in range(len(tokens)):
            beam.seat[tokens[place]] = place
        beam.counts[TAKEN] = 0
        _stay(tree, beam, log_probs, blank, stay_blank, stay_emitted)
        _reach_children(tree, beam, pool, log_probs, blank, stay_emitted)
        _enter_stayers(tree, beam, pool, stay_blank, stay_emitted)
        _extend(tree, beam, pool, tokens, log_probs, blank, able, fusion)
        _settle(tree, beam, pool, former)
        for token in tokens:
            beam.seat[token] = NONE
        beam.counts[STEP] += 1


@inlined
def _stay(tree: Tree, beam: Beam, log_probs: NDArray[np.float32], blank: int, stay_blank: NDArray[np.float32], stay_emitted: NDArray[np.float32]) -> None:
    """The beam's prefixes by one more blank, or one more of their last token."""
    for place in range(beam.counts[IN_BEAM]):
        node = beam.nodes[place]
        stay_blank[place] = stay_emitted[place] = IMPOSSIBLE
        if beam.seat[blank] != NONE:
            stay_blank[place] = log_probs[beam.seat[blank]] + tree.score[node]
        if node != ROOT and beam.seat[tree.token[node]] != NONE:
            stay_emitted[place] = log_probs[beam.seat[tree.token[node]]] + tree.emitted[node]


@inlined
def _reach_children(tree: Tree, beam: Beam, pool: Pool, log_probs: NDArray[np.float32], blank: int, stay_emitted: NDArray[np.float32]) -> None:
    """Extensions that are nodes already: those in the beam gain the paths of their parent, the others may come back."""
    for place in range(beam.counts[IN_BEAM]):
        parent = beam.nodes[place]
        node = tree.first_child[parent]
        while node != NONE:
            seat = beam.seat[tree.token[node]]
            if seat != NONE:
                log_prob = log_probs[seat]
                if tree.best[node] < log_prob:
                    tree.best[node], tree.timestep[node] = log_prob, beam.counts[STEP]
                reached = log_prob + (tree.blank[parent] if tree.token[node] == tree.token[parent] else tree.score[parent]) + tree.bonus[node]
                if tree.place[node] != NONE:
                    stay_emitted[tree.place[node]] = _log_add(stay_emitted[tree.place[node]], reached)
                else:
                    slot = _take_slot(beam, pool, reached, tree.token[node])
                    if slot != NONE:
                        pool.node[slot], pool.blank[slot], pool.emitted[slot] = node, IMPOSSIBLE, reached
            node = tree.next_sibling[node]


@inlined
def _enter_stayers(tree: Tree, beam: Beam, pool: Pool, stay_blank: NDArray[np.float32], stay_emitted: NDArray[np.float32]) -> None:
    for place in range(beam.counts[IN_BEAM]):
        node = beam.nodes[place]
        slot = _take_slot(beam, pool, _log_add(stay_blank[place], stay_emitted[place]), tree.token[node])
        if slot != NONE:
            pool.node[slot], pool.blank[slot], pool.emitted[slot] = node, stay_blank[place], stay_emitted[place]


@inlined
def _extend(
    tree: Tree,
    beam: Beam,
    pool: Pool,
    tokens: NDArray[np.int32],
    log_probs: NDArray[np.float32],
    blank: int,
    able: NDArray[np.int32],
    fusion: Fusion,
) -> None:
    """Extensions that are no nodes yet. The beam falls in score: where its best can't enter with a token, none can."""
    num_able, highest = _able_tokens(tree, beam, pool, tokens, log_probs, blank, able, fusion)
    lowest = _entry_level(beam, pool)
    for place in range(beam.counts[IN_BEAM] if num_able else 0):
        parent = beam.nodes[place]
        if highest + tree.score[parent] + fusion.highest < lowest:
            break
        _mark_children(tree, beam, parent)
        for seat in able[:num_able]:
            token = tokens[seat]
            reached = log_probs[seat] + (tree.blank[parent] if token == tree.token[parent] else tree.score[parent])
            if reached + fusion.highest < lowest or beam.mark[token] == beam.counts[TURN]:
                continue
            bonus, context = emission_bonus(fusion, tree.context[parent], token) if fusion.active else (np.float32(0.0), 0)
            slot = _take_slot(beam, pool, reached + bonus, token)
            if slot != NONE:
                pool.node[slot], pool.parent[slot], pool.blank[slot], pool.emitted[slot] = NONE, parent, IMPOSSIBLE, reached + bonus
                pool.log_prob[slot], pool.bonus[slot], pool.context[slot] = log_probs[seat], bonus, context
                lowest = _entry_level(beam, pool)


@inlined
def _able_tokens(
    tree: Tree,
    beam: Beam,
    pool: Pool,
    tokens: NDArray[np.int32],
    log_probs: NDArray[np.float32],
    blank: int,
    able: NDArray[np.int32],
    fusion: Fusion,
) -> tuple[int, np.float32]:
    """Fill in where the tokens stand with which the best prefix would enter; their number and highest log-probability."""
    lowest, top = _entry_level(beam, pool), tree.score[beam.nodes[0]]
    num_able, highest = 0, IMPOSSIBLE
    for seat in range(len(tokens)):
        if log_probs[seat] + top + fusion.highest >= lowest and tokens[seat] != blank:
            able[num_able] = seat
            num_able += 1
            highest = max(highest, log_probs[seat])
    return num_able, highest


@inlined
def _mark_children(tree: Tree, beam: Beam, parent: int) -> None:
    beam.counts[TURN] += 1
    node = tree.first_child[parent]
    while node != NONE:
        beam.mark[tree.token[node]] = beam.counts[TURN]
        node = tree.next_sibling[node]


@inlined
def _entry_level(beam: Beam, pool: Pool) -> np.float32:
    """The score that one must have to enter: any while there is room."""
    return pool.score[pool.heap[0]] if beam.counts[TAKEN] == len(pool.heap) else np.float32(-np.inf)


@inlined
def _is_lower(score_a: np.float32, token_a: int, score_b: np.float32, token_b: int) -> bool:
    """Of equal scores, the larger token is the lower one."""
    return bool(score_a < score_b or (score_a == score_b and token_a > token_b))


@inlined
def _take_slot(beam: Beam, pool: Pool, score: np.float32, token: int) -> int:
    """A slot for one of this score, if need be that of the lowest; NONE where it is not above that."""
    taken = beam.counts[TAKEN]
    if taken < len(pool.heap):
        slot = place = taken
        beam.counts[TAKEN] += 1
        while place > 0:
            above = pool.heap[(place - 1) // 2]
            if not _is_lower(score, token, pool.score[above], pool.token[above]):
                break
            pool.heap[place] = above
            place = (place - 1) // 2
        pool.heap[place] = slot
    else:
        slot = pool.heap[0]
        if not _is_lower(pool.score[slot], pool.token[slot], score, token):
            return NONE
        _sift_down(pool, taken, slot, score, token)
    pool.score[slot], pool.token[slot] = score, token
    return int(slot)


@inlined
def _sift_down(pool: Pool, size: int, slot: int, score: np.float32, token: int) -> None:
    """Put `slot` of this score where the top of a heap of `size` is, and the heap right."""
    place = 0
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if below + 1 < size:
            left, right = pool.heap[below], pool.heap[below + 1]
            below += _is_lower(pool.score[right], pool.token[right], pool.score[left], pool.token[left])
        other = pool.heap[below]
        if not _is_lower(pool.score[other], pool.token[other], score, token):
            break
        pool.heap[place] = other
        place = below
    pool.heap[place] = slot


@inlined
def _settle(tree: Tree, beam: Beam, pool: Pool, former: NDArray[np.int32]) -> None:
    """The pool becomes the beam; nodes that left it and have no descendants in it are freed."""
    num_former = beam.counts[IN_BEAM]
    for place in range(num_former):
        former[place] = beam.nodes[place]
        tree.place[former[place]] = NONE
    size = beam.counts[TAKEN]
    beam.counts[IN_BEAM] = size
    while size > 0:  # the lowest first
        slot = pool.heap[0]
        size -= 1
        last = pool.heap[size]
        _sift_down(pool, size, last, pool.score[last], pool.token[last])
        node = pool.node[slot] if pool.node[slot] != NONE else _make_node(tree, beam, pool, slot)
        tree.blank[node], tree.emitted[node], tree.score[node] = pool.blank[slot], pool.emitted[slot], pool.score[slot]
        tree.place[node] = size
        beam.nodes[size] = node
    for node in former[:num_former]:
        if tree.place[node] == NONE:
            _free_branch(tree, beam, node)


@inlined
def _make_node(tree: Tree, beam: Beam, pool: Pool, slot: int) -> int:
    node = beam.counts[FREE]
    if node != NONE:
        beam.counts[FREE] = tree.next_sibling[node]
    else:
        node = beam.counts[MADE]
        beam.counts[MADE] += 1
    parent = pool.parent[slot]
    tree.parent[node], tree.token[node], tree.context[node], tree.bonus[node] = parent, pool.token[slot], pool.context[slot], pool.bonus[slot]
    tree.timestep[node], tree.best[node] = beam.counts[STEP], pool.log_prob[slot]
    tree.next_sibling[node], tree.first_child[parent], tree.first_child[node] = tree.first_child[parent], node, NONE
    return int(node)


@inlined
def _free_branch(tree: Tree, beam: Beam, node: int) -> None:
    """Forget a node out of the beam that has no children, and its ancestors of which then the same is true."""
    while node != ROOT and tree.place[node] == NONE and tree.first_child[node] == NONE:
        parent = tree.parent[node]
        if tree.first_child[parent] == node:
            tree.first_child[parent] = tree.next_sibling[node]
        else:
            sibling = tree.first_child[parent]
            while tree.next_sibling[sibling] != node:
                sibling = tree.next_sibling[sibling]
            tree.next_sibling[sibling] = tree.next_sibling[node]
        tree.place[node], tree.next_sibling[node] = FREED, beam.counts[FREE]
        beam.counts[FREE] = node
        node = parent


@inlined
def _log_add(a: np.float32, b: np.float32) -> np.float32:
    if a <= IMPOSSIBLE:
        return b
    if b <= IMPOSSIBLE:
        return a
    high, low = max(a, b), min(a, b)
    return np.float32(np.log(np.exp(low - high) + np.float32(1.0)) + high)


@jit
def emission_bonus(fusion: Fusion, history: int, token: int) -> tuple[np.float32, int]:
    """Bonus of `token` after `history` (a node), and the history that it leaves; of an active fusion only."""
    bonus, word = fusion.bias[token], fusion.word[token]
    if word == NONE:
        return bonus, ROOT
    node = _extension(fusion, history, word)
    while node == NONE:  # the root has every word
        bonus += fusion.backoff[history]
        history = fusion.suffix[history]
        node = _extension(fusion, history, word)
    return bonus + fusion.log_prob[node], int(fusion.context[node])


@inlined
def _extension(fusion: Fusion, node: int, word: int) -> int:
    low, high = fusion.child_start[node], fusion.child_start[node + 1]
    while low < high:
        middle = (low + high) >> 1
        if fusion.child_word[middle] < word:
            low = middle + 1
        else:
            high = middle
    return int(fusion.child_node[low]) if low < fusion.child_start[node + 1] and fusion.child_word[low] == word else NONE
