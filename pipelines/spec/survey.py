"""A look at a user's corpus before there is a spec: how much text there is, in which columns, and of what kind.

Some 32 MB are read, spread over the files, and the rest is estimated from them: enough to choose column names,
thresholds and sizes that fit, in about a second. A smaller corpus is read whole, and its counts are then exact. What
is found here only fills in a spec that people read and change; the pipeline itself believes nothing of it.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.components.contract import ComponentError

SAMPLE_BYTES = 32 * 2**20
SAMPLE_FILES = 64
SAMPLE_TEXTS = 2_000
MAX_LINE_BYTES = 12 * 2**20
CHARACTER_COVERAGE = 0.9995  # of train_tokenizer: each of these characters needs a token of its own
CHARACTERS_COUNTED = 4_000_000
# In the order in which a name is believed, from what data sets on hubs call their columns.
TEXT_NAMES = ("text", "content", "body", "document", "article", "markdown", "code", "raw_content", "passage")
ID_NAMES = ("id", "doc_id", "_id", "uuid", "guid", "key", "url")
LANGUAGE_NAMES = ("lang", "language", "lang_code", "language_code")
LICENCE_NAMES = ("license", "licence", "license_id")
WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Survey:
    """What one source holds.

    Attributes:
        name: The source's name in the spec.
        patterns: What was asked for.
        formats: A word of ``data.sources.formats.registry``, such as ``jsonl`` or ``zip`` -> number of files.
        file_bytes: Size of all files.
        documents: Documents, estimated unless everything was read.
        text_bytes: UTF-8 bytes of their text, likewise.
        bytes_per_character: UTF-8 bytes of a character of the text, on average.
        is_exact: Whether everything was read.
        text_column: Column of the text; None when no file has columns.
        id_column: Column of ids that are there and differ, or None.
        language_column: Column of language tags, or None.
        licence_column: Column of licences, or None.
        bad_fraction: Share of the sampled records without a text, or of empty files.
        languages: Language tag -> share of the sampled documents; empty without a column.
        is_code: Whether most of the sample is Python.
        characters: Different characters that make up ``CHARACTER_COVERAGE`` of the sample.
        texts: The sampled texts.
    """

    name: str
    patterns: tuple[str, ...]
    formats: Mapping[str, int]
    file_bytes: int
    documents: int
    text_bytes: int
    bytes_per_character: float
    is_exact: bool
    text_column: str | None
    id_column: str | None
    language_column: str | None
    licence_column: str | None
    bad_fraction: float
    languages: Mapping[str, float]
    is_code: bool
    characters: int
    texts: tuple[str, ...]


def survey(name: str, patterns: Sequence[str]) -> Survey:
    """Looks at the files that patterns match.

    Args:
        name: The source's name.
        patterns: Globs as in a spec, relative to the working directory.

    Raises:
        ComponentError: There is nothing, or nothing that can be read.
    """
    from millrace.data.sources import files
    from millrace.data.sources.records import SourceError

    try:
        files.plan(patterns)  # says what a pattern that matches nothing should look like
        found = files.list_files(patterns)
        formats = Counter(files.format_of(file.uri)[0] for file in found)
    except SourceError as error:
        raise ComponentError(f"--documents: {error}") from None
    step = max(1, len(found) // SAMPLE_FILES)
    sampled = found[::step][:SAMPLE_FILES]
    budget = SAMPLE_BYTES // len(sampled)
    rows: list[Mapping[str, Any]] = []
    read_bytes, is_exact = 0, len(sampled) == len(found)
    for file in sampled:
        own, used, is_whole = _rows(file, budget)
        rows += own
        read_bytes += used
        is_exact = is_exact and is_whole
    if not rows:
        raise ComponentError(
            f"--documents: got no record in {len(found)} files, expected text, JSON objects or rows"
        )
    tabular = [row for row in rows if "\0file" not in row]
    text_column = _text_column(tabular) if tabular else None
    texts = [row.get("\0text", row.get(text_column or "")) for row in rows]
    good = [text for text in texts if isinstance(text, str) and text.strip()]
    if not good:
        raise ComponentError("--documents: got no text in the first records, expected a column of strings")
    scale = 1.0 if is_exact else sum(file.size_bytes for file in found) / max(read_bytes, 1)
    size_bytes = sum(len(text.encode("utf-8", "replace")) for text in good)
    language_column = _named(
        tabular, LANGUAGE_NAMES, lambda value: isinstance(value, str) and len(value) <= 12
    )
    tags = Counter(str(row.get(language_column)) for row in tabular) if language_column else Counter[str]()
    return Survey(
        name=name,
        patterns=tuple(patterns),
        formats=dict(sorted(formats.items())),
        file_bytes=sum(file.size_bytes for file in found),
        documents=max(1, round(len(good) * scale)),
        text_bytes=round(size_bytes * scale),
        bytes_per_character=size_bytes / sum(map(len, good)),
        is_exact=is_exact,
        text_column=text_column,
        id_column=_id_column(tabular) if tabular else None,
        language_column=language_column,
        licence_column=_named(tabular, LICENCE_NAMES, lambda value: isinstance(value, str)),
        bad_fraction=max(
            sum(not isinstance(text, str) for text in texts) / len(texts),
            sum(file.size_bytes == 0 for file in found) / len(found),
        ),
        languages={tag: count / tags.total() for tag, count in tags.most_common()},
        is_code=_is_code(rows, good),
        characters=_characters(good),
        texts=tuple(good[:: max(1, len(good) // SAMPLE_TEXTS)][:SAMPLE_TEXTS]),
    )


def source_names(patterns: Sequence[str]) -> list[str]:
    """A name for the source of each pattern: its last part without wildcards, made valid and different."""
    names: list[str] = []
    for pattern in patterns:
        parts = [
            part for part in re.split(r"[/\\]", pattern.split("://")[-1]) if not re.search(r"[*?\[]", part)
        ]
        stem = parts[-1].split(".")[0] if parts else ""
        name = WORD.sub("_", stem.lower()).strip("_") or "documents"
        name = name if name[0].isalpha() else f"source_{name}"
        name = base = name[:50]
        number = 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _rows(file: Any, budget: int) -> tuple[list[Mapping[str, Any]], int, bool]:
    """Records of one file up to a number of bytes of them, the file's bytes that were read, and whether all were."""
    from millrace.data.sources import files
    from millrace.data.sources.bytes import streams
    from millrace.data.sources.formats.registry import ARCHIVES
    from millrace.data.sources.records import SourceError

    kind, compression = files.format_of(file.uri)
    rows: list[Mapping[str, Any]] = []
    used = 0
    try:
        with streams.open_file(file.uri) as opened:
            for size, row in _records(streams.Peeked(opened), kind, file.uri, compression):
                used += size
                rows.append(row if isinstance(row, dict) else {})
                if used >= budget and kind not in ("text", "html"):
                    is_packed = compression or kind in ARCHIVES
                    share = opened.tell() / file.size_bytes if is_packed else used / file.size_bytes
                    return rows, round(min(1.0, share) * file.size_bytes), False
    except SourceError as error:
        raise ComponentError(f"--documents: {error}") from None
    except (OSError, ValueError) as error:
        raise ComponentError(f"--documents: {file.uri}: got {error}, expected a readable file") from None
    return rows, file.size_bytes, True


def _records(stream: Any, kind: str, name: str, compression: str | None) -> Iterator[tuple[int, Any]]:
    """The records of a file, or of all files in an archive, each with its bytes."""
    from millrace.data.sources.bytes.archives import in_memory, tar_members, zip_members
    from millrace.data.sources.bytes.streams import Peeked, decompressed
    from millrace.data.sources.formats.jsonl import lines_of
    from millrace.data.sources.formats.registry import format_of_name, split_name
    from millrace.data.sources.records import Malformed, Options, Where

    if compression is not None:
        stream = Peeked(decompressed(stream, compression))
    if kind in ("parquet", "zip") and not stream.seekable():
        stream = in_memory(stream, SAMPLE_BYTES * 8)
        if stream is None:
            return
    if kind in ("tar", "zip"):
        members = tar_members if kind == "tar" else zip_members
        for member in members(stream, Where(name, name), Options()):
            if isinstance(member, Malformed):
                continue
            inner, inner_compression = split_name(member[0].name)
            if (found := format_of_name(inner)) not in (None, "tar", "zip"):
                yield from _records(member[1], str(found), inner, inner_compression)
    elif kind == "parquet":
        yield from _parquet(stream)
    elif kind == "jsonl":
        yield from _jsonl(lines_of(stream, MAX_LINE_BYTES))
    elif kind == "json":
        yield from _json_values(stream.read(SAMPLE_BYTES).decode("utf-8-sig", "replace"))
    elif kind == "csv":
        yield from _csv(
            lines_of(stream, MAX_LINE_BYTES), "\t" if split_name(name)[0].endswith(".tsv") else ","
        )
    elif kind == "arrow":
        yield from _arrow(stream)
    elif kind == "arrayrecord":
        from millrace.data.sources.formats.arrayrecord import rows_of

        for size, row in rows_of(stream):
            yield size, {"\0file": name, "\0text": row} if isinstance(row, str) else row
    elif kind in ("html", "warc"):
        yield from _web(stream, kind, name)
    else:
        data = stream.read(MAX_LINE_BYTES)
        yield len(data), {"\0file": split_name(name)[0], "\0text": _decoded(data)}


def _json_values(text: str) -> Iterator[tuple[int, Any]]:
    """The objects of an array or of a text, up to what is no JSON: the end of what was read."""
    decoder = json.JSONDecoder()
    separators = re.compile(r"[ \t\r\n,]*")
    at = len(text) - len(text.lstrip("[ \t\r\n"))
    while at < len(text) and text[at] == "{":
        try:
            row, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield end - at, row
        match = separators.match(text, end)
        at = match.end() if match else end


def _csv(lines: Iterator[tuple[int, int, bytes | None]], delimiter: str) -> Iterator[tuple[int, Any]]:
    import csv

    csv.field_size_limit(MAX_LINE_BYTES)
    decoded = ((line or b"").decode("utf-8-sig", "replace") + "\n" for _, _, line in lines)
    try:
        for row in csv.DictReader(decoded, delimiter=delimiter):
            values = {name: value for name, value in row.items() if isinstance(name, str)}
            yield (
                sum(len(value or "") for value in values.values()),
                {name: value or None for name, value in values.items()},
            )
    except csv.Error:
        return


def _arrow(stream: Any) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    if stream.peek(8).startswith(b"ARROW1"):
        stream.read(8)
    for batch in pa.ipc.open_stream(pa.PythonFile(stream, "r")):
        for row in batch.to_pylist():
            yield max(1, batch.nbytes // max(1, batch.num_rows)), row


def _web(stream: Any, kind: str, name: str) -> Iterator[tuple[int, Any]]:
    """Pages as ingesting reads them; what it skips is no record."""
    from millrace.data.sources.formats.registry import FORMATS, split_name
    from millrace.data.sources.records import Options, Record, Where

    before = 0
    for item in FORMATS[kind].reader()(stream, Where(name, split_name(name)[0]), Options()):
        text = item.text if isinstance(item, Record) else None
        if text is None and getattr(item, "rule", "") == "skipped":
            continue
        place = int(item.locator) if isinstance(item, Record) and item.locator else before
        yield max(1, place - before, len(text or "")), {"\0file": split_name(name)[0], "\0text": text}
        before = place


def _decoded(data: bytes) -> str | None:
    """A file's text, or None for what ingesting calls malformed: nothing at all, or not UTF-8."""
    try:
        return data.decode("utf-8-sig") or None
    except UnicodeDecodeError as error:
        # The read may have ended in the middle of a character.
        return data[: error.start].decode() if error.start >= MAX_LINE_BYTES - 4 else None


def _jsonl(lines: Iterator[tuple[int, int, bytes | None]]) -> Iterator[tuple[int, Any]]:
    for _, size, line in lines:
        if line is not None and line.strip():
            try:
                yield size, json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                yield size, None


def _parquet(opened: Any) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(opened)
    row_bytes = max(1, sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)))
    row_bytes //= max(1, file.metadata.num_rows)
    for batch in file.iter_batches(256):
        for row in batch.to_pylist():
            yield max(1, row_bytes), row


def _text_column(rows: Sequence[Mapping[str, Any]]) -> str:
    """The column of the text: a known name, else the strings that are longest on average."""
    lengths: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str):
                lengths.setdefault(name, []).append(len(value))
    common = {name: sizes for name, sizes in lengths.items() if len(sizes) >= len(rows) / 2}
    if not common:
        keys = sorted({name for row in rows for name in row})
        raise ComponentError(
            f"--documents: got the columns {', '.join(keys) or 'none'}, expected one with text in most records"
        )
    known = [name for name in TEXT_NAMES if name in common]
    return known[0] if known else max(common, key=lambda name: (sum(common[name]) / len(common[name]), name))


def _named(rows: Sequence[Mapping[str, Any]], names: Sequence[str], fits: Any) -> str | None:
    """The first of some names whose values fit in nearly all records."""
    for name in names:
        if rows and sum(bool(fits(row.get(name))) for row in rows) >= 0.95 * len(rows):
            return name
    return None


def _id_column(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The first column called like an id that is a different text or number in every record."""
    for name in ID_NAMES:
        values = [row.get(name) for row in rows]
        if all(isinstance(value, str | int) for value in values) and len(set(values)) == len(values):
            return name
    return None


def _characters(texts: Sequence[str]) -> int:
    """How many different characters cover the sample, most frequent first."""
    counts = Counter[str]()
    for text in texts[:: max(1, sum(map(len, texts)) // CHARACTERS_COUNTED)]:
        counts.update(text)
    wanted = CHARACTER_COVERAGE * counts.total()
    for number, (_, count) in enumerate(counts.most_common(), 1):
        wanted -= count
        if wanted <= 0:
            return number
    return len(counts)


def _is_code(rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> bool:
    """Whether most of the sample is Python: by file name, else by what parses and defines something."""
    files = [row["\0file"] for row in rows if "\0file" in row]
    if len(files) == len(rows):
        return sum(name.endswith(".py") for name in files) > len(files) / 2
    probe = texts[:: max(1, len(texts) // 50)][:50]
    return sum(_defines(text) for text in probe) > len(probe) / 2


def _defines(text: str) -> bool:
    try:
        tree = ast.parse(text[:100_000])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom) for node in tree.body
    )
