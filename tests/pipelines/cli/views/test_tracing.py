"""Traces in a terminal: within its width, and nothing of a document taken for markup."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from millrace.pipelines.cli import app
from millrace.pipelines.cli.views import tracing
from millrace.pipelines.trace.runs import Source
from millrace.pipelines.trace.text import Found, Search


@pytest.mark.parametrize("width", ["80", "160"])
@pytest.mark.parametrize(
    "words",
    [["doc", "docs/leak.md"], ["text", "def get"], ["example", "foxes/q1"], ["step", "3"], ["artifact", ""]],
)
def test_every_trace_prints_within_the_terminal_and_as_json(
    small_store: SimpleNamespace, words: list[str], width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    words = [word or small_store.digests["tokenize.tokens"] for word in words]
    command = ["trace", *words, "--store", small_store.store.uri]
    plain = CliRunner().invoke(app, command)
    assert plain.exit_code == 0, plain.output
    whole = [line for line in plain.output.splitlines() if not re.search(r"[0-9a-f]{64}|/", line)]
    assert max(map(len, whole)) <= int(width)
    answer = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert answer


def test_markup_and_escapes_of_a_document_are_printed_and_not_obeyed() -> None:
    out = io.StringIO()
    source = Source("d" * 32, "notes/[red]a[/].md", "", "mine", "en")
    found = Found(source, "[bold]loud[/bold] \x1b[2Jx", 0, "kept")
    tracing.show(Console(file=out, width=80, highlight=False), Search("loud", True, 1, True, (found,)))
    assert "[bold]loud[/bold]" in out.getvalue()
    assert "notes/[red]a[/].md" in out.getvalue()
    assert "\ufffd[2Jx" in out.getvalue()
    assert "\x1b" not in out.getvalue()
