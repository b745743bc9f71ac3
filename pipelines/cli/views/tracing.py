"""How traces look in a terminal: one fact a line, addresses never broken, texts folded under a bar.

Addresses and digests are printed whole and left to the terminal to wrap, because a line break inside one makes it
useless to copy. Everything printed from documents goes through ``rich.text.Text``, never through markup, and without
control characters, which could move the cursor.
"""

from __future__ import annotations

import json
import re
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from millrace.pipelines.trace.artifacts import ArtifactTrace, Relative
from millrace.pipelines.trace.documents import Decision, DocumentTrace, ExampleTrace
from millrace.pipelines.trace.matches import Match, example_text
from millrace.pipelines.trace.runs import Source
from millrace.pipelines.trace.text import Search
from millrace.pipelines.trace.training import Reading, StepTrace

from .controls import without_controls

LABEL = 13
STAGE = 15
ID = 12
EXCERPT_CHARACTERS = 320
STEPS_SHOWN = 6
SAME_SHOWN = 3
COPIES_SHOWN = 5
EXAMPLES_SHOWN = 5
MATCHED_WORDS = 8
ACTIONS = {"keep": "green", "drop": "red", "edit": "yellow"}


Trace = DocumentTrace | Search | ExampleTrace | StepTrace | ArtifactTrace


def show(console: Console, trace: Trace) -> None:
    """Prints what a question found, control characters of documents shown as U+FFFD."""
    trace = without_controls(trace)
    if isinstance(trace, DocumentTrace):
        document(console, trace)
    elif isinstance(trace, Search):
        search(console, trace)
    elif isinstance(trace, ExampleTrace):
        example(console, trace)
    elif isinstance(trace, StepTrace):
        step(console, trace)
    else:
        artifact(console, trace)


def document(console: Console, trace: DocumentTrace) -> None:
    """Prints a document's trace."""
    _source(console, trace.document)
    _line(console, "run", f"{trace.run} of {trace.pipeline} ({trace.status})")
    _line(console, "fate", Text(trace.fate, style=f"bold {_fate_colour(trace.fate)}"))
    console.print()
    for decision in trace.decisions:
        _decision(console, decision)
    if trace.duplicates or trace.spans or trace.examples:
        console.print()
    for number, copy in enumerate(trace.duplicates[:COPIES_SHOWN]):
        _line(console, "" if number else "kept instead", f"of {copy.doc_id[:ID]}  {_address(copy)}")
    if len(trace.duplicates) > COPIES_SHOWN:
        _line(console, "", f"and of {len(trace.duplicates) - COPIES_SHOWN} more (--json lists them)")
    for span in trace.spans:
        place = f"{span.length:,} at {span.start:,} of {span.source}"
        _line(console, "tokens", f"{place} ({span.stage}.tokens {span.tokens[:ID]})")
    for reading in trace.readings:
        _line(console, "training", _reading(reading))
    for number, made in enumerate(trace.examples[:EXAMPLES_SHOWN]):
        _line(console, "" if number else "made", f"{made.kind}: {made.file}/{made.id} ({made.stage})")
    if len(trace.examples) > EXAMPLES_SHOWN:
        _line(console, "", f"and {len(trace.examples) - EXAMPLES_SHOWN} more (--json lists them)")


def search(console: Console, found: Search) -> None:
    """Prints the documents that contain a text."""
    loosely = "" if found.exact else ", white space read loosely"
    least = "" if found.complete else "at least "
    shown = f"; the first {len(found.found)}:" if found.documents > len(found.found) else ":"
    console.print(Text(f"{least}{_documents(found.documents, 'contain')} {found.text!r}{loosely}{shown}"))
    for item in found.found:
        console.print()
        head = Text.assemble((item.document.doc_id[:ID], "bold"), "  ", (item.fate, _fate_colour(item.fate)))
        console.print(head, soft_wrap=True)
        console.print(Text(f"  {item.document.source}: {_address(item.document)}"), soft_wrap=True)
        _quote(console, item.excerpt, "  ", found.text)
    console.print(Text("\n`millrace trace doc ID` tells all about one.", style="dim"))


def example(console: Console, trace: ExampleTrace) -> None:
    """Prints a benchmark example's trace."""
    _line(console, "example", Text(f"{trace.benchmark}/{trace.example}", style="bold"))
    _line(console, "run", trace.run)
    if trace.document is not None:
        _line(console, "made from", f"{trace.document.doc_id[:ID]}  {_address(trace.document)}")
    _quote(console, example_text(trace.record), " " * LABEL)
    console.print()
    console.print(f"{_documents(len(trace.hits), 'overlap')} it" + (":" if trace.hits else "."))
    for hit in trace.hits:
        console.print(Text(f"\n{hit.document.doc_id[:ID]}  {_address(hit.document)}"), soft_wrap=True)
        console.print(Text(f"  {hit.fate}", style=_fate_colour(hit.fate)))
        _quote(console, hit.span, "  ")


def step(console: Console, trace: StepTrace) -> None:
    """Prints what a training step read."""
    _line(console, "step", f"{trace.step:,} of {trace.total_steps:,} of {trace.stage}, phase {trace.phase}")
    _line(console, "run", trace.run)
    for row in trace.rows:
        tokens = f"tokens {row.start:,} to {row.start + row.length:,}"
        console.print(Text(f"\nrow {row.row}: {row.source}, {tokens}", style="bold"), soft_wrap=True)
        for part in row.parts:
            place = f"  {part.document.doc_id[:ID]}  {part.length:>6,} tokens from {part.start:,}  "
            console.print(Text(f"{place}{_address(part.document)}"), soft_wrap=True)


def artifact(console: Console, trace: ArtifactTrace) -> None:
    """Prints an artifact's trace."""
    _line(console, "artifact", Text(trace.digest, style="bold"))
    _line(console, "kind", f"{trace.kind}, {len(trace.files)} files, {trace.bytes:,} bytes")
    _line(console, "folder", trace.folder or "not in the store any more, or on an object store")
    for number, maker in enumerate(trace.makers):
        how = f"{maker.stage}.{maker.port} (component {maker.component}), run {maker.run}"
        _line(console, "made by" if number == 0 else "also by", how)
        if number == 0:
            if maker.started:
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(maker.started))
                _line(console, "when", f"{when}, in {maker.seconds:.1f} s")
            _line(console, "key", maker.key)
            _line(console, "code", maker.code)
            if maker.adopted_from:
                _line(console, "adopted", f"the outputs of {maker.adopted_from} were accepted for this code")
            _line(console, "seed", str(maker.seed))
            _values(console, "config", maker.config)
            _values(console, "metrics", maker.metrics)
    nothing = "made from what its configuration names, outside the store", "nothing was made from it yet"
    for title, relatives, none in zip(
        ("made from", "made into"), (trace.inputs, trace.uses), nothing, strict=True
    ):
        console.print(Text(f"\n{title if relatives else none}", style="bold"))
        _tree(console, relatives, 1)


def _source(console: Console, source: Source) -> None:
    _line(console, "document", Text(source.doc_id, style="bold"))
    _line(console, "file", source.uri)
    if source.locator:
        _line(console, "record", f"at {source.locator}")
    _line(console, "source", f"{source.source}, {source.lang}" if source.lang else source.source)
    for key, value in source.metadata.items():
        _line(console, key, value if isinstance(value, str) else repr(value))


def _decision(console: Console, decision: Decision) -> None:
    sizes = f"{decision.bytes_before:,} bytes"
    if decision.action == "edit":
        sizes = f"{decision.bytes_before:,} -> {decision.bytes_after:,} bytes"
    line = Text(f"{decision.stage:<{STAGE - 1}} ")
    line.append(decision.action, style=f"bold {ACTIONS.get(decision.action, '')}")
    line.append(f"  {decision.rule}  ").append(sizes, style="dim")
    console.print(line, soft_wrap=True)
    facts = _facts(decision)
    if facts:
        _folded(console, ", ".join(facts), " " * STAGE)
    if decision.survivor is not None:
        kept = Text(f"{'':<{STAGE}}kept instead ").append(decision.survivor.doc_id[:ID], style="bold")
        console.print(kept.append(f"  {_address(decision.survivor)}"), soft_wrap=True)
    via = decision.evidence.get("via")
    if isinstance(via, Mapping):
        link = Text(f"{'':<{STAGE}}linked by    ").append(str(via.get("doc_id"))[:ID], style="bold")
        console.print(
            link.append(f"  {via.get('uri')}, similarity {_value(via.get('similarity'))}"), soft_wrap=True
        )
    for match in decision.matches:
        if match.span:
            _match(console, match)
    also = [f"{match.benchmark}/{match.example}" for match in decision.matches if not match.span]
    if also:
        _folded(console, f"also {', '.join(also)}", " " * STAGE)


def _facts(decision: Decision) -> list[str]:
    """The evidence that is not shown in lines of its own."""
    shown = {"threshold", "via"}
    if decision.survivor:
        shown |= {"survivor", "survivor_uri", "cluster"}
    if decision.matches:
        shown |= {"benchmark", "example", "span", "also", "start", "end"}
    facts = [f"{key} {_value(value)}" for key, value in decision.evidence.items() if key not in shown]
    if decision.threshold is not None:
        facts.append(f"threshold {_value(decision.threshold)}")
    start, end = decision.evidence.get("start"), decision.evidence.get("end")
    if decision.matches and isinstance(start, int) and isinstance(end, int):
        facts.append(f"characters {start:,} to {end:,}")
    return facts


def _match(console: Console, match: Match) -> None:
    name = Text(f"{'':<{STAGE}}benchmark example ").append(f"{match.benchmark}/{match.example}", style="bold")
    console.print(name, soft_wrap=True)
    if match.uri:
        console.print(Text(f"{'':<{STAGE}}from {match.uri}"), soft_wrap=True)
    _quote(console, match.text, " " * STAGE, match.span)
    console.print(Text(f"{'':<{STAGE}}matching span of the document"))
    _quote(console, match.span, " " * STAGE)


def _reading(reading: Reading) -> str:
    if not reading.steps:
        return f"{reading.stage} never read it in its {reading.total_steps:,} steps"
    steps = sorted({number for number, _ in reading.steps})
    phases = ", ".join(f"{count:,} in phase {phase}" for phase, count in reading.phases.items())
    shown = ", ".join(f"{number:,}" for number in steps[:STEPS_SHOWN])
    more = f" ... {steps[-1]:,}" if len(steps) > STEPS_SHOWN else ""
    times = "once" if len(reading.steps) == 1 else f"{len(reading.steps):,} times"
    return f"{reading.stage} read it {times} ({phases}) in steps {shown}{more} of {reading.total_steps:,}"


def _tree(console: Console, relatives: Sequence[Relative], depth: int) -> None:
    """Prints relatives, at most a few of one stage and port, because every run with other settings adds one."""
    counts: dict[tuple[str, str, str], int] = {}
    for relative in relatives:
        same = (relative.stage, relative.port, relative.via)
        counts[same] = counts.get(same, 0) + 1
        if counts[same] > SAME_SHOWN:
            continue
        line = Text("  " * depth).append(f"{relative.stage}.{relative.port}", style="bold")
        line.append(f" {relative.digest[:ID]} {relative.kind}").append(f" as {relative.via}", style="dim")
        line.append(" (shown above)" if relative.repeated else "", style="dim")
        console.print(line, soft_wrap=True)
        _tree(console, relative.children, depth + 1)
    for (stage, port, _), count in counts.items():
        if count > SAME_SHOWN:
            line = Text(
                f"{'  ' * depth}and {count - SAME_SHOWN} older {stage}.{port} (--json lists them)",
                style="dim",
            )
            console.print(line, soft_wrap=True)


def _values(console: Console, label: str, values: Mapping[str, Any]) -> None:
    """Leaves of nested values, each on its line."""
    for path, value in _leaves(values, ""):
        _line(console, label, f"{path} {_value(value)}")
        label = ""


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [
            leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [leaf for number, item in enumerate(value) for leaf in _leaves(item, f"{path}[{number}]")]
    return [(path, value)]


def _line(console: Console, label: str, value: str | Text) -> None:
    console.print(
        Text(f"{label:<{LABEL - 1}} ", style="dim").append_text(Text.assemble(value)), soft_wrap=True
    )


def _folded(console: Console, text: str, indent: str) -> None:
    width = max(console.width, 40)
    for line in textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    ):
        console.print(Text(line), soft_wrap=True)


def _quote(console: Console, text: str, indent: str, highlight: str = "") -> None:
    """A text under a bar, folded to the terminal, at most a few lines, from where the highlighted words begin."""
    flat = " ".join(text.split())
    found = _words(highlight, flat)
    start = max(found.start() - EXCERPT_CHARACTERS // 4, 0) if found else 0
    part = ("… " if start else "") + flat[start : start + EXCERPT_CHARACTERS]
    part += " …" if start + EXCERPT_CHARACTERS < len(flat) else ""
    shown = Text(part)
    found = _words(highlight, part)
    if found:
        shown.stylize("bold yellow", *found.span())
    bar = Text(f"{indent}│ ", style="dim")
    for line in shown.wrap(console, max(console.width, 40) - len(bar)):
        line.rstrip()
        console.print(bar + line, soft_wrap=True)


def _words(words: str, text: str) -> re.Match[str] | None:
    """Where a text has these words, or else the first of them, whatever stands between and in any case."""
    parts = [re.escape(word) for word in re.findall(r"\w+", words)]
    for count in (len(parts), MATCHED_WORDS):
        found = re.search(r"\W+".join(parts[:count]), text, re.IGNORECASE) if parts else None
        if found:
            return found
    return None


def _value(value: Any) -> str:
    """A configuration value, metric or piece of evidence in a few characters."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_value(item)}" for key, item in value.items()) + ")"
    if isinstance(value, list) and value:
        return ", ".join(map(_value, value))
    return json.dumps(value)


def _documents(count: int, verb: str) -> str:
    return f"1 document {verb}s" if count == 1 else f"{count:,} documents {verb}"


def _address(source: Source) -> str:
    return f"{source.uri}#{source.locator}" if source.locator else source.uri


def _fate_colour(fate: str) -> str:
    return "red" if fate.startswith("dropped") else "yellow" if fate.startswith("held") else "green"
