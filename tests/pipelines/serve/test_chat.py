"""The chat in the terminal: one answer, a loop, the context's end and Ctrl-C."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.model.answers.continuous_batch import ContinuousBatch
from millrace.model.package.package import PackageError
from millrace.pipelines.serve.chat import ChatError, Conversation, chat
from millrace.pipelines.serve.served import Served, load


class Terminal(io.StringIO):
    """A stream that says that it is a terminal; the end of the given text is the end of the input."""

    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        """The output without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue())


@pytest.fixture(scope="module")
def served(package: Path) -> Served:
    """The small package, one row."""
    return load(package, rows=1, warm_up=False)


def test_one_message_gives_one_answer_however_it_comes(package: Path) -> None:
    """``--prompt`` and a pipe give the same answer for the same seed, and nothing but the answer."""
    answers = []
    for prompt, piped in (("What is it?", ""), (None, "What is it?\n")):
        out = io.StringIO()
        chat(package, prompt=prompt, source=io.StringIO(piped), out=out, seed=1, max_tokens=20)
        answers.append(out.getvalue())
    assert answers[0] == answers[1]
    assert answers[0].strip()


def test_the_loop_answers_resets_and_leaves(package: Path) -> None:
    """Commands are not sent to the model; the same seed after a reset gives the same answer."""
    out = Terminal()
    typed = Terminal("hello\n/reset\nhello\n/exit\nnever\n")
    chat(package, source=typed, out=out, seed=1, temperature=1, max_tokens=9)
    _, first, reset, second, end = out.plain().split("you ")
    assert first == second
    assert first.strip()
    assert (reset, end) == ("forgotten\n", "")


def test_a_conversation_is_rendered_with_its_history(served: Served) -> None:
    """The next prompt holds the earlier turns, closed, and the system message first."""
    talk = Conversation(served, system="Be brief.", seed=1, max_tokens=5)
    said = "".join(talk.answer(talk.fit("one")[0], "one"))
    prompt, dropped = talk.fit("two")
    wanted, _ = served.tokenizer.render_chat(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": said},
            {"role": "user", "content": "two"},
        ],
        generate=True,
    )
    assert (prompt, dropped) == (wanted, 0)


def test_the_oldest_turns_go_when_the_context_is_full(served: Served) -> None:
    """Long talks go on without their beginning; a message too long alone is refused and changes nothing."""
    talk = Conversation(served, temperature=0, max_tokens=8)
    dropped = 0
    for _ in range(12):
        prompt, now = talk.fit("a few words more")
        "".join(talk.answer(prompt, "a few words more"))
        dropped += now
    assert dropped > 0
    kept = list(talk.turns)
    with pytest.raises(ChatError, match="shorten it"):
        talk.fit("word " * 400)
    assert talk.turns == kept


def test_ctrl_c_ends_the_answer_and_not_the_program(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt in the middle of a step leaves the chat usable, with what was said so far."""
    step: Callable[..., object] = ContinuousBatch.step
    calls = 0

    def interrupted(self: ContinuousBatch) -> object:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(ContinuousBatch, "step", interrupted)
    out = Terminal()
    chat(package, source=Terminal("hello\nagain\n/exit\n"), out=out, seed=1, temperature=1, max_tokens=12)
    assert out.plain().count("you ") == 3
    assert calls > 12


def test_terminal_escapes_of_the_model_are_not_executed(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape characters reach a pipe, never a terminal."""
    monkeypatch.setattr(Conversation, "answer", lambda *_: iter(["a\x1b[2J", "\x9b1m\tb\n"]))
    shown, piped = Terminal(), io.StringIO()
    chat(package, prompt="x", out=shown)
    chat(package, prompt="x", out=piped)
    assert shown.getvalue() == "a\ufffd[2J\ufffd1m\tb\n\n"
    assert piped.getvalue() == "a\x1b[2J\x9b1m\tb\n\n"


def test_what_cannot_be_answered_is_said(package: Path, tmp_path: Path) -> None:
    """No text, and no package."""
    with pytest.raises(ChatError, match="empty message"):
        chat(package, source=io.StringIO("\n"), out=io.StringIO())
    with pytest.raises(PackageError):
        chat(tmp_path, prompt="x")
