"""The run of the small store, open for questions."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from millrace.pipelines.trace.runs import Run, open_run


@pytest.fixture
def run(small_store: SimpleNamespace) -> Iterator[Run]:
    with open_run(small_store.store) as opened:
        yield opened
