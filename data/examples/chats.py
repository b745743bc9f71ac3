"""A chat's messages: what a file to train on may hold and what a request to the server may hold, in one definition.

A message has a ``role`` and a ``content``, in the forms that OpenAI's API and files for fine-tuning use: a text, a list
of parts of text, or nothing, which is an empty message. Keys that do not change the text pass; every other key is a
problem that is named, because a model that never sees a tool call, an image or a weight must not seem to.
"""

from __future__ import annotations

from typing import Any, Literal

ROLES = ("system", "developer", "user", "assistant", "tool")
WITHOUT_EFFECT = ("id", "name", "tool_call_id", "annotations")
EMPTY_ONLY = ("tool_calls", "function_call", "refusal", "audio")

Message = dict[str, str]


class NoChat(ValueError):
    """These are no messages of a chat.

    Args:
        problem: The value got and the one expected.
        keys: Where, from the list of messages on.
        kind: ``value``, ``missing`` or ``unknown``.
    """

    def __init__(
        self, problem: str, *keys: str | int, kind: Literal["value", "missing", "unknown"] = "value"
    ) -> None:
        super().__init__(problem)
        self.keys, self.kind = keys, kind


def read_messages(messages: Any) -> list[Message]:
    """Each message as ``{role, content}``, its content one text.

    Args:
        messages: A value out of JSON.

    Raises:
        NoChat: It is no list of messages, or a message is none; says which and why.
    """
    if not isinstance(messages, list) or not messages:
        raise NoChat("got no messages, expected a list of {role, content}")
    return [_message(number, message) for number, message in enumerate(messages)]


def _message(number: int, message: Any) -> Message:
    if not isinstance(message, dict):
        raise NoChat(f"got {_shown(message)}, expected a message {{role, content}}", number)
    if "role" not in message:
        raise NoChat(f"got no role of {', '.join(ROLES)}", number, "role", kind="missing")
    role = message["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise NoChat(f"got no role of {', '.join(ROLES)}: {_shown(role)}", number, "role")
    for key, value in message.items():
        if key in EMPTY_ONLY:
            if value not in (None, [], {}, ""):
                raise NoChat(
                    f"got {_shown(value)} under {key}, expected none: write it into the content", number, key
                )
        elif key not in ("role", "content", *WITHOUT_EFFECT):
            raise NoChat(
                f"got the unknown key {key!r}, expected role and content", number, key, kind="unknown"
            )
    return {"role": role, "content": _text(message.get("content"), number)}


def _text(content: Any, number: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise NoChat(
            f"got no text under content ({_shown(content)}), expected a text or a list of parts",
            number,
            "content",
        )
    return "".join(_part(part, number, place) for place, part in enumerate(content))


def _part(part: Any, number: int, place: int) -> str:
    if (
        isinstance(part, dict)
        and part.keys() == {"type", "text"}
        and part["type"] == "text"
        and isinstance(part["text"], str)
    ):
        return part["text"]
    raise NoChat(
        f'got {_shown(part)}, expected a part {{"type": "text", "text": …}}', number, "content", place
    )


def _shown(value: Any) -> str:
    """A value in few characters, however large it is."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    shown = repr(value[:60] if isinstance(value, str) else value)
    return shown if len(shown) <= 70 else f"{shown[:67]}..."
