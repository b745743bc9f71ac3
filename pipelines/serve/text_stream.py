"""From token ids to text that is safe to show at once: whole characters only, and never a part of a stop string.

Two things go wrong when tokens are decoded one by one. A character of several bytes may be spread over several byte
tokens, and a stop string may be complete only some tokens later. ``IncrementalDecoder`` holds back an unfinished
character, ``StopScanner`` holds back the longest tail that could still become a stop string. Text that they let
go is never taken back, and text that they hold is flushed when the answer ends for another reason. The result does not
depend on how the text was cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
UNFINISHED_BYTES = 3  # a UTF-8 character has at most four bytes


class IncrementalDecoder:
    """Decodes a growing list of token ids piece by piece.

    The text of a token can depend on the tokens before it (SentencePiece drops the first piece's leading space), so
    the new text is what decoding with the last settled tokens adds to decoding these alone.

    Args:
        decode: Token ids -> text; undecodable bytes become U+FFFD, one each.
        context: Ids before the first one, whose text is not given out (the end of a prompt that is continued).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], context: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(context)
        self._start = 0  # first id of the window that is decoded
        self._settled = len(self._ids)  # ids whose text is completely given out
        self._given = ""  # text of the window beyond the settled ids that is given out already

    def push(self, token: int) -> str:
        """The text that this token makes certain; may be empty."""
        self._ids.append(token)
        fresh = self._fresh()
        tail = len(fresh) - len(fresh.rstrip(REPLACEMENT))
        certain = fresh[: len(fresh) - min(tail, UNFINISHED_BYTES)]
        delta = certain[len(self._given) :]
        if tail:
            self._given = certain
        else:
            self._start, self._settled, self._given = self._settled, len(self._ids), ""
        return delta

    def flush(self) -> str:
        """The text held back so far, undecodable bytes included."""
        delta = self._fresh()[len(self._given) :]
        self._start, self._settled, self._given = self._settled, len(self._ids), ""
        return delta

    def _fresh(self) -> str:
        """The text of the ids after the settled ones."""
        window = self._ids[self._start :]
        settled = self._decode(window[: self._settled - self._start])
        return self._decode(window)[len(settled) :]


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
        decode: Token ids -> text.
        stops: Stop strings.
        context: Ids of the end of the prompt when the answer continues its text.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        stops: Sequence[str] = (),
        context: Sequence[int] = (),
    ) -> None:
        self._decoder = IncrementalDecoder(decode, context)
        self._scanner = StopScanner(stops)

    def push(self, token: int) -> tuple[str, bool]:
        """The text that can be shown now, and whether a stop string ended the answer."""
        return self._scanner.push(self._decoder.push(token))

    def flush(self) -> tuple[str, bool]:
        """The rest of the text when the tokens have ended, and whether it completed a stop string."""
        shown, stopped = self._scanner.push(self._decoder.flush())
        return (shown, True) if stopped else (shown + self._scanner.flush(), False)
