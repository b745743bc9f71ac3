"""The explicit registry of source types: the word a spec uses -> its configuration and the functions that read it.

To add a type ``example``: a configuration with ``type: Literal["example"]`` and the functions ``fingerprint``, ``plan``,
``read`` and ``limits`` in a file here, which import ``data/sources/example.py`` inside (a plain import statement, which
the code's identity follows), and its name in each of the two tables below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from . import environment, files, git, huggingface, tfds
from .source import SourceType

AnySource = Annotated[
    environment.PythonEnvironmentSource
    | files.FilesSource
    | git.GitSource
    | huggingface.HuggingfaceSource
    | tfds.TfdsSource,
    Field(discriminator="type"),
]

SOURCES: Mapping[str, SourceType] = {
    "files": files,
    "git": git,
    "huggingface": huggingface,
    "python_environment": environment,
    "tfds": tfds,
}
