"""A project whose pipeline ran twice, for the commands that look at runs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.sandbox import LINE, Sandbox


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, dict[str, Any], dict[str, Any]]:
    """A project whose pipeline ran twice, the second time with another setting; tests leave its runs' stages as they are."""
    sandbox = Sandbox(tmp_path_factory.mktemp("cli"))
    sandbox.write(LINE)
    return sandbox, sandbox.run(), sandbox.run("--set", "stages.sort.with.add=#")
