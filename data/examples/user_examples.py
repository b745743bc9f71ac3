"""A user's own examples as JSON Lines: questions, chats and preferences, checked line by line.

Unlike a corpus, these are few and chosen by hand, so one bad line stops the stage instead of being dropped: a missing
question changes a score. All bad lines are reported at once, each with its file, its line and the expected form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from millrace.data.sources import files
from millrace.data.sources.bytes import streams
from millrace.data.sources.formats.jsonl import lines_of
from millrace.data.sources.records import SourceError

from .chats import NoChat, read_messages

MAX_LINE_BYTES = 2**24
SHOWN = 5

Row = dict[str, Any]


def read_questions(pattern: str) -> list[Row]:
    """Questions: ``{id, prompt, choices, answer}`` with the answer's index, or ``{id, prompt, answer}`` with its text.

    Args:
        pattern: File or glob; ``.gz`` and ``.zst`` are decompressed.

    Returns:
        Rows with exactly these keys, ids as strings, all of one of the two forms.

    Raises:
        SourceError: No file, or lines of another form; ids that repeat; both forms in one benchmark.
    """
    rows = _read(pattern, _question)
    seen: dict[str, str] = {}
    for place, row in rows:
        if row["id"] in seen:
            raise SourceError(
                f"{place}: got id {row['id']!r} again, expected ids to be unique (first at {seen[row['id']]})"
            )
        seen[row["id"]] = place
    if len({"choices" in row for _, row in rows}) == 2:
        place = next(place for place, row in rows if ("choices" in row) != ("choices" in rows[0][1]))
        raise SourceError(
            f"{place}: got questions with and without choices, expected one form: split the file"
        )
    return [row for _, row in rows]


def read_chats(pattern: str) -> list[Row]:
    """Chats: ``{messages: [{role, content}, ...]}`` as ``chats`` defines them, ended by an answer of the assistant.

    Returns:
        Rows with ``id`` (the given one, else file and line) and ``messages``.

    Raises:
        SourceError: No file, or lines of another form.
    """
    return [{"id": _id(place, row), "messages": row["messages"]} for place, row in _read(pattern, _chat)]


def read_preferences(pattern: str) -> list[Row]:
    """Preferences: ``{prompt, chosen, rejected, head?}``.

    Returns:
        Rows with ``id``, ``prompt``, ``chosen``, ``rejected`` and ``head`` (``preference`` when none is given).

    Raises:
        SourceError: No file, or lines of another form.
    """
    return [
        {"id": _id(place, row), "head": row.get("head", "preference")}
        | {key: row[key] for key in ("prompt", "chosen", "rejected")}
        for place, row in _read(pattern, _preference)
    ]


def _id(place: str, row: Mapping[str, Any]) -> str:
    return str(row["id"]) if isinstance(row.get("id"), str | int) else place


def _read(pattern: str, check: Callable[[Row], Row | str]) -> list[tuple[str, Row]]:
    """(``file:line``, row) of every line, or all problems at once."""
    found = files.list_files([pattern])
    if not found:
        raise SourceError(f"got {pattern!r} that matches no file, expected JSON Lines: check the path")
    rows: list[tuple[str, Row]] = []
    problems: list[str] = []
    for file in found:
        kind, compression = files.format_of(file.uri)
        if kind != "jsonl":
            raise SourceError(f"got {file.uri}, expected JSON Lines (.jsonl, .jsonl.gz, .jsonl.zst)")
        try:
            with streams.open_file(file.uri) as opened:
                lines = lines_of(streams.decompressed(opened, compression), MAX_LINE_BYTES)
                for number, (_, size, line) in enumerate(lines, 1):
                    if line is not None and not line.strip():
                        continue
                    place = f"{file.uri}:{number}"
                    checked = _parsed(line, size, check)
                    if isinstance(checked, str):
                        problems.append(f"{place}: {checked}")
                    else:
                        rows.append((place, checked))
        except (OSError, ValueError) as error:
            raise SourceError(f"{file.uri}: got {error}, expected a whole, readable file") from None
    if problems:
        more = f"\nand {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise SourceError("\n".join(problems[:SHOWN]) + more)
    if not rows:
        raise SourceError(f"got no lines in {pattern!r}, expected at least one")
    return rows


def _parsed(line: bytes | None, size: int, check: Callable[[Row], Row | str]) -> Row | str:
    if line is None:
        return f"got a line of {size} bytes, expected at most {MAX_LINE_BYTES}"
    try:
        row = json.loads(line.decode("utf-8-sig"))
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return f"got no JSON in UTF-8 ({error}), expected an object"
    return check(row) if isinstance(row, dict) else f"got a JSON {type(row).__name__}, expected an object"


def _no_text(row: Row, *keys: str) -> str | None:
    missing = [key for key in keys if not isinstance(row.get(key), str) or not row[key].strip()]
    return f"got no text under {', '.join(missing)}, expected {', '.join(keys)}" if missing else None


def _question(row: Row) -> Row | str:
    if not isinstance(row.get("id"), str | int):
        return "got no id, expected a string or a number"
    if problem := _no_text(row, "prompt"):
        return problem
    checked = {"id": str(row["id"]), "prompt": row["prompt"]}
    answer = row.get("answer")
    if "choices" not in row:
        return _no_text(row, "answer") or checked | {"answer": answer}
    choices = row["choices"]
    if (
        not isinstance(choices, list)
        or len(choices) < 2
        or not all(isinstance(c, str) and c.strip() for c in choices)
    ):
        return "got choices that are not a list of two or more texts"
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        return f"got answer {answer!r}, expected the index of the right one of {len(choices)} choices, from 0"
    return checked | {"choices": choices, "answer": answer}


def _chat(row: Row) -> Row | str:
    try:
        messages = read_messages(row.get("messages"))
    except NoChat as error:
        return f"message {error.keys[0]}: {error}" if error.keys else str(error)
    last = messages[-1]
    if last["role"] != "assistant":
        return f"got a last message by {last['role']}, expected the assistant's answer"
    if not last["content"].strip():
        return f"message {len(messages) - 1}: got no text under content, expected the assistant's answer"
    return {"id": row.get("id"), "messages": messages}


def _preference(row: Row) -> Row | str:
    if problem := _no_text(row, "prompt", "chosen", "rejected"):
        return problem
    if row["chosen"] == row["rejected"]:
        return "got the same text as chosen and rejected, expected them to differ"
    if "head" in row and (problem := _no_text(row, "head")):
        return problem
    return row
