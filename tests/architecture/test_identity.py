"""Everything that a stage can load counts for its identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.architecture.tree import MODULES, ROOT, exists, imports
from tests.sandbox import SPECS, Sandbox

from millrace.components import registry
from millrace.pipelines.plan.code_identity import CodeIndex


@pytest.mark.parametrize("package", ["millrace.data", "millrace.model"])
def test_data_and_model_need_nothing_of_the_other_at_run_time(package: str) -> None:
    folder, other = package.split(".")[1], "model" if package.endswith("data") else "data"
    modules = [
        ".".join(["millrace", *file.with_suffix("").parts]).removesuffix(".__init__")
        for file in MODULES
        if file.parts[0] == folder
    ]
    wrong = [
        (module, name)
        for module in modules
        for name in CodeIndex().of(module.removeprefix("millrace.")).modules
        if name.split(".")[0] in (other, "components", "pipelines")
    ]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(registry.COMPONENTS))
def test_everything_that_a_component_can_load_of_millrace_is_part_of_its_identity(name: str) -> None:
    covered = CodeIndex().of(*registry.modules_of(name)).modules.keys()
    missing = []
    for module in covered:
        base = Path(*module.split("."))
        file = next(
            path for path in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / path).is_file()
        )
        for imported, line in imports(file):
            if not imported.startswith("millrace."):
                continue
            parts = imported.split(".")[1:]
            known = [".".join(parts[:size]) for size in range(len(parts), 0, -1)]
            real = next(one for one in known if exists(one))
            if real not in covered:
                missing.append(f"{file}:{line} imports {real}")
    assert missing == []


WATCH = """
import json, os, sys

def leave(code, leave=os._exit):
    if sys.argv[0].endswith("stage_process.py"):
        names = [name.removeprefix("millrace.") for name in sys.modules if name.startswith("millrace.")]
        component = json.load(open(sys.argv[1]))["component"]
        json.dump(names, open(os.path.join(os.environ["LOADED"], component), "w"))
    leave(code)

os._exit = leave
"""
"""Makes every stage process tell which of our modules it has loaded when it leaves."""


def run_watched(sandbox: Sandbox, *arguments: str) -> dict[str, set[str]]:
    """Runs a pipeline; returns component -> modules that its process had loaded at the end."""
    loaded = sandbox.folder / "loaded"
    loaded.mkdir()
    (sandbox.site / "sitecustomize.py").write_text(WATCH)
    sandbox.environment["LOADED"] = str(loaded)
    assert set(sandbox.statuses(*arguments).values()) == {"ran"}
    return {file.name: set(json.loads(file.read_text())) for file in loaded.iterdir()}


def not_covered(component: str, loaded: set[str]) -> set[str]:
    """Modules that affect a component's bytes and are missing from its identity; the registry only looks it up."""
    counted = {name for name in loaded if name.split(".")[0] in ("components", "data", "model")}
    covered = CodeIndex().of(*registry.modules_of(component)).modules.keys()
    return counted - covered - {"components", "components.registry"}


def test_what_a_stage_really_loads_is_part_of_its_identity(sandbox: Sandbox) -> None:
    rows = (
        json.dumps({"text": f"the number {n} of the documents that have words in them"}) for n in range(50)
    )
    (sandbox.folder / "a.jsonl").write_text("\n".join(rows))
    rules = [{"rule": "gopher_quality", "min_words": 3}, {"rule": "code"}]
    sandbox.write(
        {
            "ingest": {
                "uses": "ingest",
                "with": {"sources": {"mine": {"type": "files", "paths": "*.jsonl"}}},
            },
            "filter": {
                "uses": "filter",
                "inputs": {"documents": "ingest.documents"},
                "with": {"rules": {"mine": rules}},
            },
            "dedup": {
                "uses": "dedup",
                "inputs": {"documents": "filter.documents"},
                "with": {"max_drop_fraction": 1},
            },
        }
    )
    loaded = run_watched(sandbox)
    assert {component: not_covered(component, names) for component, names in loaded.items()} == {
        "ingest": set(), "filter": set(), "dedup": set(),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_what_any_stage_of_a_whole_pipeline_loads_is_part_of_its_identity(
    sandbox: Sandbox, spec: Path
) -> None:
    loaded = run_watched(sandbox, str(spec.absolute()), "--store", str(sandbox.store))
    assert {
        component: names for component in loaded if (names := not_covered(component, loaded[component]))
    } == {}
