"""From token ids to text that is safe to show at once: whole characters only, and never a part of a stop string.

Two things go wrong when tokens are decoded one by one. A character of several bytes may be spread over several byte
tokens, and a stop string may be complete only some tokens later. ``IncrementalDecoder`` holds back an unfinished
character, ``StopScanner`` holds back the longest tail that could still become a stop string. Text that they let
go is never taken back, and text that could have become a stop string is flushed when the answer ends for another reason.
The bytes of a character that the answer's end left unfinished are no text: a model that runs out of tokens in the middle
of one has not written U+FFFD. The result does not depend on how the text was cut into pieces.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from millrace.data.tokenizer.tokenizer import CHARACTER_BYTES

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
BAD_BYTE = re.compile(
    "[\udc80-\udcff]"
)  # how the error handler surrogateescape marks a byte that is no UTF-8


class IncrementalDecoder:
    """Decodes a growing list of token ids piece by piece.

    Bytes are decoded as SentencePiece does, one U+FFFD for each byte that belongs to no character, but for those at
    the end that the next token may complete.

    Args:
        token_bytes: The bytes of each id; none for a control token, which no character reaches across.
        context: Ids before the first one, whose text is not given out (the end of a prompt that is continued). A
            character that they begin and the first ids complete is given out.

    Attributes:
        offset: Where in the text the last pushed token begins, in characters; for a token in the middle of a
            character, where that character begins.
        given: How many characters are given out.
    """

    def __init__(self, token_bytes: Sequence[bytes], context: Sequence[int] = ()) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.offset = self.given = 0
        for token in context[-CHARACTER_BYTES:]:
            self.push(token)
        self.offset = self.given = 0

    def push(self, token: int) -> str:
        """The text that this token makes certain; may be empty."""
        added = self._token_bytes[token]
        unfinished = len(self._decoder.getstate()[0])
        first = self._decoder.decode(added[:1], final=not added)
        broken = unfinished and BAD_BYTE.search(first)
        self.offset = self.given + (unfinished if broken else 0)
        text = BAD_BYTE.sub(REPLACEMENT, first + self._decoder.decode(added[1:]))
        self.given += len(text)
        return text


class StopScanner:
    """Cuts a stream of text at the first stop string that is completed.

    Args:
        stops: The stop strings, none empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that can be shown now, and whether a stop string was completed (it is not part of the text)."""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            _, at = min(found)
            shown, self._held = self._held[:at], ""
            return shown, True
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown, False

    def flush(self) -> str:
        """The held tail, once it is certain that no stop string will be completed."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins the stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)


class TextStream:
    """Decoding and stop strings in one: what the server and the chat push tokens into.

    Args:
        token_bytes: See ``IncrementalDecoder``.
        stops: Stop strings.
        context: Ids of the end of the prompt when the answer continues its text.
    """

    def __init__(
        self, token_bytes: Sequence[bytes], stops: Sequence[str] = (), context: Sequence[int] = ()
    ) -> None:
        self._decoder = IncrementalDecoder(token_bytes, context)
        self._scanner = StopScanner(stops)

    @property
    def offset(self) -> int:
        """Where in the answer's text the last pushed token begins, in characters."""
        return self._decoder.offset

    @property
    def end(self) -> int:
        """Where in the answer's text the next token begins, in characters, unless it finishes one."""
        return self._decoder.given

    def push(self, token: int) -> tuple[str, bool]:
        """The text that can be shown now, and whether a stop string ended the answer."""
        return self._scanner.push(self._decoder.push(token))

    def flush(self) -> str:
        """The rest of the text when the tokens have ended."""
        return self._scanner.flush()
