"""Fixtures that every test folder shares."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase, settings
from tests.sandbox import NAMES, TOYS, Sandbox

from millrace.components import registry
from millrace.components.contract import Artifact, Inputs, Upstream
from millrace.pipelines.stages.context import StageContext

# A busy machine is slow, not wrong, so no deadlines. Examples follow from the tests alone, so that a change is judged by
# what it changed; `--hypothesis-profile search` draws new ones, to look for counterexamples nobody asked for.
settings.register_profile("millrace", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
# A mutant is killed by the first failure; a smaller example of it would help nobody.
settings.register_profile("mutants", deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
settings.load_profile("millrace")

# Half of the tests' time was XLA compiling what another test, or a stage's process, had compiled before. Kept between
# runs as well; JAX's key is the program, its own version and the machine.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

RunComponent = Callable[..., SimpleNamespace]


@pytest.fixture
def run_component(tmp_path: Path) -> RunComponent:
    """Runs one component on folders, without a store.

    ``run_component("dedup", {"bands": 14}, {"documents": folder})`` returns a namespace with ``outputs`` (port ->
    folder), ``work`` (its folder), ``metrics`` (results) and ``events`` (everything that the stage reported). ``beam`` are the arguments of
    ``StageContext`` that choose the Beam runner and its threads.
    """
    count = 0

    def run(
        name: str,
        config: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Path | Mapping[str, Path]] | None = None,
        *,
        seed: int = 0,
        lineage: tuple[Upstream, ...] = (),
        work: Path | None = None,
        beam: Mapping[str, Any] | None = None,
    ) -> SimpleNamespace:
        nonlocal count
        count += 1
        component = registry.get(name)
        base = tmp_path / f"run-{count}-{name}"
        outputs = {port: base / port for port in component.outputs}
        for folder in outputs.values():
            folder.mkdir(parents=True)
        work = work or base / "work"
        work.mkdir(parents=True, exist_ok=True)
        events: list[dict[str, Any]] = []
        context = StageContext(
            seed=seed,
            work=work,
            outputs=outputs,
            emit=events.append,
            log=logging.getLogger(name),
            lineage=lineage,
            **(beam or {}),
        )

        def artifact(port: str, path: Path) -> Artifact:
            return Artifact(path=path, kind=component.inputs[port].kind, digest="0" * 64, stage=port)

        ports: dict[str, Any] = {}
        for port, value in (inputs or {}).items():
            if isinstance(value, Path):
                ports[port] = artifact(port, value)
            else:
                ports[port] = {label: artifact(port, path) for label, path in value.items()}
        registry.run_of(component)(context, component.config.model_validate(config or {}), Inputs(ports))
        return SimpleNamespace(outputs=outputs, work=work, metrics=context.metrics, events=events)

    return run


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A Millrace with toy components, and a project with a spec of seven stages."""
    return Sandbox(tmp_path)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy components in this process, beside the real ones."""
    from millrace import components

    monkeypatch.setattr(components, "__path__", [*components.__path__, str(TOYS)])
    for name in NAMES:
        monkeypatch.setitem(registry.COMPONENTS, name, name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole pipelines first, which take minutes: at the end the other cores would wait for them."""
    items.sort(key=lambda item: (len(item.path.parts), "pipelines" not in item.path.parts))
