"""Choosing a byte budget of documents by source weights, the same ones whatever their order.

Documents are ranked within their source by a keyed hash of their id, so the choice does not depend on shards or
machines, and a corpus that grows a little changes the sample a little. A source that has less text than its share
gives all it has and the rest of its share goes to the others by their weights.

Within a source, languages can be drawn by temperature: with p the share of a language's bytes, its share of the sample
is p ** alpha over the sum of all. 1 takes languages as they come, 0 takes all alike; text is never repeated.

References:
    Conneau & Lample 2019, "Cross-lingual Language Model Pretraining" (arXiv 1901.07291), section 3.1: the formula, 0.5
    for the vocabulary; Conneau et al. 2020, XLM-R (arXiv 1911.02116), section 3.1: 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace.data.documents.choosing import keyed


def allot(
    available_bytes: Mapping[str, int], weights: Mapping[str, float], total_bytes: int
) -> dict[str, int]:
    """Splits a budget over sources by weight, never giving a source more than it has.

    Args:
        available_bytes: Source -> bytes that it has.
        weights: Source -> weight, not negative; sources left out get nothing. Empty means by ``available_bytes``.
        total_bytes: The budget.

    Returns:
        Source -> bytes, summing to the budget or to all that the weighted sources have, whichever is less, up to
        rounding down.
    """
    wanted = {name: float(weight) for name, weight in (weights or available_bytes).items() if weight > 0}
    open_sources = {name for name in wanted if available_bytes.get(name, 0) > 0}
    alloted = dict.fromkeys(sorted(available_bytes), 0)
    left = total_bytes
    while open_sources:
        weight_sum = sum(wanted[name] for name in sorted(open_sources))
        full = {n for n in open_sources if available_bytes[n] <= left * wanted[n] / weight_sum}
        if not full:
            for name in open_sources:
                alloted[name] = int(left * wanted[name] / weight_sum)
            break
        for name in full:
            alloted[name] = available_bytes[name]
            left -= available_bytes[name]
        open_sources -= full
    return alloted


def tempered(available_bytes: Mapping[str, int], alpha: float) -> dict[str, float]:
    """Weights of languages by temperature, for ``allot``.

    Args:
        available_bytes: Language -> bytes that there are.
        alpha: From 0, all alike, to 1, as they come.

    Returns:
        Language -> share, summing to 1; languages without text get none.
    """
    total_bytes = sum(available_bytes.values())
    powers = {name: (size / total_bytes) ** alpha for name, size in sorted(available_bytes.items()) if size}
    return {name: power / sum(powers.values()) for name, power in powers.items()}


def ranks(doc_ids: Sequence[str], seed: int) -> list[int]:
    """Document indices in the order of a keyed hash of their ids."""
    hashes = [keyed(seed, doc_id) for doc_id in doc_ids]
    return sorted(range(len(doc_ids)), key=hashes.__getitem__)


def choose(order: Sequence[int], sizes_bytes: Sequence[int], budget_bytes: int) -> dict[int, int]:
    """Takes documents in order until the budget is used up.

    Args:
        order: Document indices, first choice first.
        sizes_bytes: How much each document can give, by index.
        budget_bytes: How much to take in all.

    Returns:
        Document index -> bytes to take of it, in order; only the last may be cut.
    """
    taken: dict[int, int] = {}
    for index in order:
        if budget_bytes <= 0:
            break
        taken[index] = min(sizes_bytes[index], budget_bytes)
        budget_bytes -= taken[index]
    return taken


def window(text: str, limit_bytes: int, position: int) -> str:
    """A part of a text of at most ``limit_bytes`` UTF-8 bytes, whole characters only.

    Args:
        text: The document.
        limit_bytes: The most to take.
        position: Any non-negative number; decides which part of a longer text is taken.
    """
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    start = position % (len(data) - limit_bytes + 1)
    return data[start : start + limit_bytes].decode(errors="ignore")
