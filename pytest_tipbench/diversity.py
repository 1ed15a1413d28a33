"""Owns how varied tips are, from their text alone; imports nothing of ours.

A model that tells everyone the same thing repeats its words (:func:`distinct_2`), its tips within a
cell (:func:`self_similarity`), or its tips from one scenario to the next (:func:`specificity`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import combinations, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NGRAM_ORDERS = range(1, 7)
"""The lengths of the character n-grams, in characters: chrF's own 1 to 6."""

# Thai, Lao, Burmese, Khmer, kana and Han are written without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def cell_diversity(tips: Sequence[str]) -> dict[str, float]:
    """Return ``distinct_2`` and ``self_similarity`` of a cell's tips, each only where defined."""
    measures = {"distinct_2": distinct_2(tips), "self_similarity": self_similarity(tips)}
    return {name: value for name, value in measures.items() if value is not None}


def distinct_2(tips: Iterable[str]) -> float | None:
    """Return unique word bigrams over all word bigrams of the tips: 1 when none comes twice.

    Bigrams do not cross from one tip into the next. Words are case-folded runs of letters, marks
    and digits; in scripts written without spaces each character is a word. None without a bigram.

    Source: Li et al. (2016), arXiv 1510.03055, who divide by all words; dividing by all bigrams
    makes 1 the highest value whatever the tips' length.
    """
    bigrams = [bigram for tip in tips for bigram in pairwise(_words(tip))]
    return len(set(bigrams)) / len(bigrams) if bigrams else None


def self_similarity(tips: Sequence[str]) -> float | None:
    """Return the mean :func:`similarity` over all pairs of tips (0 to 1); None below two tips."""
    if len(tips) < 2:
        return None
    return fmean(_f_score(*pair) for pair in combinations(_profiles(tips), 2))


def specificity(tips_by_scenario: Mapping[str, Sequence[str]]) -> float | None:
    """Return 1 − the mean :func:`similarity` of a row's tips across different scenarios (0 to 1).

    The mean is taken over all tip pairs of two scenarios first, and then over all pairs of
    scenarios, so that each pair of scenarios weighs the same. None below two scenarios with tips.
    """
    groups = [tips for tips in tips_by_scenario.values() if tips]
    if len(groups) < 2:
        return None
    profiles = iter(_profiles([tip for tips in groups for tip in tips]))
    scenarios = [[next(profiles) for _ in tips] for tips in groups]
    return 1 - fmean(
        fmean(_f_score(first, second) for first in ours for second in theirs)
        for ours, theirs in combinations(scenarios, 2)
    )


def similarity(first: str, second: str) -> float:
    """Return how alike two texts are, 0 to 1, whichever comes first: chrF with β = 1.

    Character n-grams for n = 1 to 6 of the case-folded texts, whitespace removed. For each n that
    both texts are long enough for, matches (each n-gram as often as both have it) over the n-grams
    of the one and of the other text; both shares are averaged over n; the result is their harmonic
    mean. 0 where a text is empty.

    Source: Popović (2015), chrF, WMT 2015, W15-3049. β = 1, not the usual 2 or 3 that favour the
    reference, because here neither text is one.
    """
    return _f_score(*_profiles([first, second]))


class _Profile(NamedTuple):
    """A text's n-grams, one entry for each order."""

    shared: tuple[int, ...]
    """A bit for each n-gram that some other text has too; what no other has never matches."""
    counts: tuple[int, ...]
    """How many n-grams the text has, shared or not."""


def _profiles(texts: Iterable[str]) -> list[_Profile]:
    """Return comparable profiles: matches are then one ``&`` and a count of bits for each order.

    36 scenarios × 5 tips are 16,000 pairs; counters or sets take 8 to 20 times as long for them.
    """
    characters = ["".join(text.casefold().split()) for text in texts]
    ngrams = [[_ngrams(text, n) for n in NGRAM_ORDERS] for text in characters]
    positions = []
    for column in zip(*ngrams, strict=True):
        spread = Counter(ngram for one in column for ngram in one)
        shared = (ngram for ngram, count in spread.items() if count > 1)
        positions.append({ngram: position for position, ngram in enumerate(shared)})
    return [
        _Profile(
            tuple(_bits(one, known) for one, known in zip(row, positions, strict=True)),
            tuple(len(one) for one in row),
        )
        for row in ngrams
    ]


def _ngrams(text: str, n: int) -> set[tuple[str, int]]:
    """Return the n-grams as a set, the second occurrence of one being an element of its own."""
    seen: Counter[str] = Counter()
    occurrences = set()
    for start in range(len(text) - n + 1):
        ngram = text[start : start + n]
        occurrences.add((ngram, seen[ngram]))
        seen[ngram] += 1
    return occurrences


def _bits(ngrams: set[tuple[str, int]], positions: Mapping[tuple[str, int], int]) -> int:
    bits = bytearray(len(positions) // 8 + 1)
    for ngram in ngrams:
        position = positions.get(ngram)
        if position is not None:
            bits[position // 8] |= 1 << position % 8
    return int.from_bytes(bits, "little")


def _f_score(first: _Profile, second: _Profile) -> float:
    orders = precision = recall = 0.0
    for ours, our_count, theirs, their_count in zip(*first, *second, strict=True):
        if our_count and their_count:
            matches = (ours & theirs).bit_count()
            precision += matches / our_count
            recall += matches / their_count
            orders += 1
    if not precision:
        return 0.0
    return 2 * precision * recall / (precision + recall) / orders


def _words(text: str) -> list[str]:
    spaced = _UNSPACED.sub(r" \g<0> ", text.casefold().replace("’", "'"))
    kept = "".join(character if _is_word(character) else " " for character in spaced)
    return [word for word in (piece.strip("'") for piece in kept.split()) if word]


def _is_word(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] in "LMN"
