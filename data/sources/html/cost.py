"""Estimates, before parsing, the cost of a page of HTML to its parser.

HTML's parsing algorithm never fails, and some of its steps walk over all open elements, all attributes of a tag or all
options of a list: 100,000 nested ``<div>``, 500 kB, keep an extractor busy for minutes, and no call of a native
library can be interrupted. Browsers bound the nesting too (Blink at 512). The kernel follows tags as the standard's
tokenizer does, with a stack of open elements, at about 0.5 GB/s. It may overestimate a page (it knows few of the rules
by which elements end by themselves) but hardly ever underestimates one.

References:
    WHATWG, HTML Living Standard, sections 13.1.2 (void elements, optional tags), 13.2.5 (tokenization), 13.2.6 (tree
    construction).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from millrace.data.text.kernels import kernel

MAX_DEPTH = 1000
"""Open elements; of 714 pages of the web the deepest has 56."""
MAX_ATTRIBUTES = 2000
"""Of a tag, whose cost grows with their square: 2 ms for so many."""
MAX_STEPS = 20_000_000
"""Sum of the depths of all tags, about 80 ns each in the slowest case found: 1.6 s; of 714 pages the most has 151,426."""


def _hash(name: str) -> int:
    value = 0
    for letter in name.encode():
        value = (value * 31 + letter) % 2**32
    return value


def _hashes(names: str) -> np.ndarray:
    return np.array([_hash(name) for name in names.split()], np.int64)


# Elements that hold nothing; that end where the next one starts; that hold text only; of other vocabularies.
_VOID = _hashes(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
)
_OPTIONAL = _hashes("p li dt dd td th tr thead tbody tfoot caption colgroup option html head body")
_RAW = _hashes("script style textarea title xmp iframe noembed noframes")
_FOREIGN = _hashes("svg math")
_OPTION, _SELECT = _hash("option"), _hash("select")
_ROOTS = _hashes("html body")


class Cost(NamedTuple):
    """The cost of a page.

    Attributes:
        depth: The most elements that are open at once, at most ``MAX_DEPTH + 1``.
        attributes: The most attributes of a tag.
        steps: The depths of all tags added up.
    """

    depth: int
    attributes: int
    steps: int


def cost(page: bytes) -> Cost:
    """Measures a page.

    Args:
        page: Its bytes in UTF-8, or any encoding that has ASCII's bytes for ASCII only.
    """
    return Cost(*map(int, _cost(np.frombuffer(page, np.uint8), MAX_DEPTH)))


@kernel
def _cost(data: np.ndarray, max_depth: int) -> tuple[int, int, int]:
    size = data.size
    stack = np.zeros(max_depth + 1, np.int64)
    is_open = np.zeros(1 << 12, np.int32)  # how many of each name, by the hash's last bits
    depth = deepest = steps = most = held = options = foreign = 0
    at = 0
    while at < size - 1:
        if data[at] != 60:  # <
            at += 1
            continue
        at += 1
        byte = data[at]
        if byte == 33 and at + 2 < size and data[at + 1] == 45 and data[at + 2] == 45:  # <!--
            at += 1
            while at < size:
                if data[at] == 62 and (
                    (data[at - 1] == 45 and data[at - 2] == 45)
                    or (data[at - 1] == 33 and data[at - 2] == 45 and data[at - 3] == 45)
                ):
                    break
                at += 1
            continue
        is_end = byte == 47
        if is_end:
            at += 1
            if at >= size:
                break
            byte = data[at]
        letter = byte | 32
        if letter < 97 or letter > 122:
            if is_end or byte == 33 or byte == 63:
                while at < size and data[at] != 62:
                    at += 1
            continue
        name = 0
        while at < size:
            byte = data[at]
            if byte == 62 or byte == 47 or byte <= 32:
                break
            if 65 <= byte <= 90:
                byte += 32
            name = (name * 31 + byte) % 2**32
            at += 1
        attributes = 0
        while at < size and data[at] != 62:
            if data[at] <= 32 or data[at] == 47:
                at += 1
                continue
            attributes += 1
            at += 1  # whatever it is: a name may start with an equals sign
            while at < size and data[at] > 32 and data[at] != 47 and data[at] != 62 and data[at] != 61:
                at += 1
            after = at
            while after < size and data[after] <= 32:
                after += 1
            if after >= size or data[after] != 61:
                continue
            at = after + 1
            while at < size and data[at] <= 32:
                at += 1
            if at < size and (data[at] == 34 or data[at] == 39):
                quote = data[at]
                at += 1
                while at < size and data[at] != quote:
                    at += 1
                at += 1
            else:
                while at < size and data[at] > 32 and data[at] != 62:
                    at += 1
        for other in _ROOTS:
            if name == other:  # attributes of later ones are added to the first
                held += attributes
                attributes = held
        most = max(most, attributes)
        steps += depth
        place = name & 0xFFF
        if is_end:
            if name == _SELECT:
                options = 0
            if is_open[place]:
                while depth:
                    depth -= 1
                    gone = stack[depth]
                    is_open[gone & 0xFFF] -= 1
                    for other in _FOREIGN:
                        foreign -= other == gone
                    if gone == name:
                        break
            continue
        if name == _OPTION:
            options += 1
            steps += options >> 3
        nests = True
        for other in _VOID:
            nests = nests and other != name
        if not foreign:
            for other in _OPTIONAL:
                nests = nests and other != name
            raw = False
            for other in _RAW:
                raw = raw or other == name
            if raw:
                at = _after_raw(data, at, name)
                continue
        for other in _FOREIGN:
            foreign += other == name
        if not nests:
            continue
        if depth > max_depth:
            break
        stack[depth] = name
        is_open[place] += 1
        depth += 1
        deepest = max(deepest, depth)
    return deepest, most, steps


@kernel
def _after_raw(data: np.ndarray, at: int, name: int) -> int:
    """Where the end tag of an element stands that holds text only, or the end."""
    while at < data.size - 2:
        if data[at] == 60 and data[at + 1] == 47:
            other, place = 0, at + 2
            while place < data.size:
                byte = data[place]
                if byte == 62 or byte == 47 or byte <= 32:
                    break
                if 65 <= byte <= 90:
                    byte += 32
                other = (other * 31 + byte) % 2**32
                place += 1
            if other == name:
                return place
            at = place
        else:
            at += 1
    return data.size
