"""The source ``git``: the files of a git repository at one commit, with the languages that they are written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .source import CorpusSource, Encoding, Limits, limits_of, options_of

if TYPE_CHECKING:
    from millrace.data.sources.git import Commit
    from millrace.data.sources.records import Item


def _languages(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Languages by the names that documents have; ``c++`` is ``cpp``."""
    if values is None:
        return None
    import difflib

    from millrace.data.sources.programming_languages import names

    known = names().aliases
    for value in values:
        if value.lower() not in known:
            close = difflib.get_close_matches(value.lower(), known, 1)
            hint = (
                f": did you mean {close[0]!r}?" if close else ", such as python, cpp, javascript or markdown"
            )
            raise ValueError(f"got language {value!r}, expected a name that Pygments has{hint}")
    return tuple(sorted({known[value.lower()] for value in values}))


Several = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)


class GitSource(CorpusSource):
    """The files of a git repository at one commit; uncommitted changes are not read."""

    type: Literal["git"]
    repository: str = Field(
        min_length=1, description="A clone's folder, one inside of it, or a bare repository."
    )
    revision: str = Field(default="HEAD", min_length=1, description="Branch, tag or commit.")
    name: str | None = Field(
        default=None,
        pattern=r"^[^@\s]+$",
        description="In addresses; the remote's address or the folder's name.",
    )
    languages: Annotated[tuple[str, ...] | None, Several, AfterValidator(_languages)] = Field(
        default=None, description="Only files in these, such as python, cpp, markdown; all without."
    )
    include: Annotated[tuple[str, ...] | None, Several] = Field(
        default=None, description="Only these: names anywhere (*.py, tests) or paths from the root (src/*)."
    )
    exclude: Annotated[tuple[str, ...] | None, Several] = Field(
        default=None,
        description="Not these, in place of the usual: copies of other projects, minified and generated files.",
    )
    encoding: Encoding = "auto"


def _commit(source: GitSource) -> Commit:
    from millrace.data.sources import git

    return git.find(source.repository, source.revision, source.name)


def fingerprint(source: GitSource) -> Any:
    """The commit, which says every byte, and the name in the addresses."""
    commit = _commit(source)
    return [commit.name, commit.id]


def plan(source: GitSource) -> Sequence[Any]:
    """Parts of about 12 MB."""
    from millrace.data.sources import git

    selection = git.Selection(
        include=source.include,
        exclude=git.EXCLUDED if source.exclude is None else source.exclude,
        languages=source.languages,
    )
    return git.plan(_commit(source), selection, options_of(source, encoding=source.encoding))


def read(part: Any) -> Iterator[Item]:
    """The records of one part."""
    from millrace.data.sources import git

    return git.read(part)


def limits(source: GitSource) -> Limits:
    """The documents that go on."""
    return limits_of(source)
