"""OpenAI's wire format: requests that are checked to the last key, answers, chunks and error objects.

Requests are strict. A key that this server does not know, or knows and cannot honour (``tools``, penalties other than
zero), is an error that names it: a client that asks for JSON mode must not silently get prose. Keys without any
effect on the answer (``user``, ``metadata``, ``store`` ...) are accepted.

References:
  OpenAI API reference: Completions, Chat Completions, Models, Error codes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from starlette.responses import JSONResponse

from millrace.data.examples.chats import Message, NoChat, read_messages

MOST_CHOICES = 16
MOST_STOPS = 16  # OpenAI allows 4; templates of other servers' users need more
COMPLETION_DEFAULT_TOKENS = 16  # OpenAI's documented default for completions
MISSING, UNKNOWN = "missing_required_parameter", "unknown_parameter"
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that went away; nobody receives it

StopString = Annotated[str, Field(min_length=1, max_length=256)]
# The first wrong item is enough: an error of each of many takes seconds.
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]


def _prompt_form(prompt: Any) -> str:
    """Which form a prompt is of, by its first item: pydantic would try all forms on all items."""
    if not isinstance(prompt, list):
        return "text"
    first = prompt[0] if prompt else None
    return "texts" if isinstance(first, str) else "lists" if isinstance(first, list) else "ids"


Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(max_length=MOST_CHOICES, fail_fast=True), Tag("texts")]
    | Annotated[TokenIds, Tag("ids")]
    | Annotated[list[TokenIds], Field(max_length=MOST_CHOICES, fail_fast=True), Tag("lists")],
    Discriminator(_prompt_form),
]


class ApiError(Exception):
    """An error that the client gets as OpenAI's error object.

    Args:
        status: HTTP status.
        message: What was got, what was expected.
        kind: OpenAI's ``type``.
        param: The request's key that is wrong.
        code: OpenAI's machine-readable ``code``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: ApiError) -> JSONResponse:
    """The error as a client gets it."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(error.body, error.status, headers)


class StreamOptions(BaseModel):
    """Options of a stream: what it carries besides the text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class _Request(BaseModel):
    """The fields that completions and chat completions share."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MOST_CHOICES)
    seed: int | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    # Known, and only their neutral value can be honoured.
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    # Known, and without effect on the answer.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None

    @field_validator("frequency_penalty", "presence_penalty", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return 0 if value == 0 else value

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def choices_wanted(self) -> int:
        """How many answers to each prompt."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


class CompletionRequest(_Request):
    """Body of ``POST /v1/completions``."""

    prompt: Prompt
    max_tokens: int | None = Field(default=None, ge=0)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)
    best_of: int | None = None
    suffix: None = None

    @model_validator(mode="after")
    def _best_of_is_n(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != self.choices_wanted:
            raise ValueError(f"best_of is {self.best_of}, expected the same as n ({self.choices_wanted})")
        return self

    @model_validator(mode="after")
    def _no_tokens_only_to_score(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens is 0, expected at least 1, or echo to be true as well")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or token ids."""
        prompt = self.prompt
        if isinstance(prompt, str) or isinstance(prompt[0], int):
            return [prompt]  # pyright: ignore[reportReturnType]  # it takes the first item's type for the list's
        return list(cast("list[str | list[int]]", prompt))


class ResponseFormat(BaseModel):
    """Only plain text can be promised."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text"]


class ChatRequest(_Request):
    """Body of ``POST /v1/chat/completions``."""

    messages: Any
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none"] | None = None
    parallel_tool_calls: Any = None

    @model_validator(mode="after")
    def _top_needs_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs is set, expected logprobs to be true as well")
        return self

    @property
    def turns(self) -> list[Message]:
        """The messages, as ``data.examples.chats`` reads those of a file.

        Raises:
            ApiError: 400, naming the first key that is wrong.
        """
        try:
            return read_messages(self.messages)
        except NoChat as error:
            param = ".".join(["messages", *map(str, error.keys)])
            if error.kind == "missing":
                raise ApiError(400, f"{param} is missing", param=param, code=MISSING) from None
            code = UNKNOWN if error.kind == "unknown" else "invalid_value"
            raise ApiError(400, f"{param}: {error}", param=param, code=code) from None

    @property
    def tokens_wanted(self) -> int | None:
        """The limit of the answer under its newer or its older name."""
        return self.max_completion_tokens or self.max_tokens


Request = TypeVar("Request", bound=_Request)


def read_json(body: bytes) -> dict[str, Any]:
    """The object that a body is.

    Raises:
        ApiError: 400, it is no JSON object, or holds half a surrogate pair.
    """
    try:
        values = json.loads(body)
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
    except ValueError as error:
        raise ApiError(400, f"got a body that is not JSON ({error}), expected a JSON object") from None
    except RecursionError:
        raise ApiError(400, "got a body that nests too deeply, expected a JSON object") from None
    if not isinstance(values, dict):
        raise ApiError(400, f"got a JSON {type(values).__name__}, expected a JSON object")
    return values


def validate(kind: type[Request], values: dict[str, Any]) -> Request:
    """A request out of its JSON.

    Raises:
        ApiError: 400, naming the first key that is wrong and how.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _as_api_error(error) from None


def _as_api_error(error: ValidationError) -> ApiError:
    """The first complaint of pydantic in OpenAI's shape."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    # Of a union's complaints, say the alternative that went deepest: it is the one that was meant.
    related = [problem for problem in problems if problem["loc"][:1] == first["loc"][:1]]
    first = max(related, key=lambda problem: len(problem["loc"]))
    keys = [str(part) for part in first["loc"] if not (isinstance(part, str) and _is_type_label(part))]
    param = ".".join(keys) or None
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"{param} is not supported by this server", param=param, code=UNKNOWN)
    if first["type"] == "missing":
        return ApiError(400, f"{param} is missing", param=param, code=MISSING)
    shown = repr(first["input"])
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    message = first["msg"].removeprefix("Value error, ")
    said = f"{param}: {message}, got {shown}" if param else message
    return ApiError(400, said, param=param, code="invalid_value")


def _is_type_label(part: str) -> bool:
    """Whether a part of pydantic's location names a union's alternative and not a key."""
    return "[" in part or part in ("str", "int", "constrained-str", "text", "texts", "ids", "lists")


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Token counts of a request."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
