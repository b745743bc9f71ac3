"""Imports: arrows between folders, no circles, and only light modules while planning."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from tests.architecture.tree import MODULES, PACKAGES, ROOT, exists, imports

ARROWS = {
    "pipelines": {"pipelines", "components", "data", "model"},
    "components": {"components", "data", "model"},
    "data": {"data"},
    "model": {"model"},
}
HEAVY = (
    "numpy",
    "pyarrow",
    "jax",
    "flax",
    "optax",
    "orbax",
    "apache_beam",
    "numba",
    "sentencepiece",
    "kfp",
    "fsspec",
)


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_from_pipelines_over_components_to_data_and_model(package: str) -> None:
    wrong = [
        f"{file}:{line} imports {name}"
        for file in MODULES
        if file.parts[0] == package
        for name, line in imports(file)
        if name.startswith("millrace.") and name.split(".")[1] not in ARROWS[package]
    ]
    assert wrong == []


def test_kubeflow_is_imported_by_its_engine_only() -> None:
    users = {
        str(file)
        for file in MODULES
        for name, _ in imports(file)
        if name.split(".")[0] in ("kfp", "kfp_kubernetes")
    }
    assert users <= {"pipelines/engines/kfp.py"}


def test_beam_is_imported_by_the_wiring_of_data_stages_and_its_engine_only() -> None:
    users = {
        str(file) for file in MODULES for name, _ in imports(file) if name.split(".")[0] == "apache_beam"
    }
    assert {user for user in users if not user.startswith("components/")} <= {"pipelines/stages/beam.py"}
    assert not users & {f"components/{name}/stage.py" for name in ("pretrain", "sft", "reward", "rlhf")}


EXTRAS = {"array_record", "gcsfs", "huggingface_hub", "s3fs", "tensorflow_datasets"}


def test_the_work_imports_at_the_top_what_is_always_installed() -> None:
    wrong = [
        f"{file}:{line} imports {module}"
        for file in MODULES
        if file.parts[0] == "components" and file.name == "stage.py"
        for module, line in set(imports(file)) - set(imports(file, top_only=True))
        if module.split(".")[0] not in EXTRAS
    ]
    assert wrong == []


def test_imports_are_absolute_across_folders_and_relative_inside_one() -> None:
    wrong = []
    for file in MODULES:
        package = ".".join(["millrace", *file.parent.parts])
        for node in ast.walk(ast.parse((ROOT / file).read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                wrong.append(f"{file}:{node.lineno} climbs out of its folder")
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                base = node.module or ""
                names = [f"{base}.{alias.name}" for alias in node.names]
                if package in {(name if exists(name) else base).rpartition(".")[0] for name in names}:
                    wrong.append(f"{file}:{node.lineno} names its own folder in full")
    assert wrong == []


def graph() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, also inside functions and for types."""
    found: dict[str, set[str]] = {}
    for file in MODULES:
        module = ".".join(["millrace", *file.with_suffix("").parts]).removesuffix(".__init__")
        found[module] = {
            name if exists(name) else name.rpartition(".")[0]
            for name, _ in imports(file)
            if name.startswith("millrace.")
        } - {module}
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(graph()).prepare()


def test_importing_every_component_and_planning_loads_nothing_heavy() -> None:
    program = (
        "import json, sys\n"
        "from millrace.components import registry\n"
        "for name in registry.names(): registry.get(name)\n"
        "import millrace.pipelines.cli, millrace.pipelines.spec.check, millrace.pipelines.engines.local\n"
        "import millrace.pipelines.cli.views.display, millrace.pipelines.store.store, millrace.pipelines.engines.run_stage\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    loaded = set(
        json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    )
    assert loaded & set(HEAVY) == set()


def test_help_loads_neither_pydantic_nor_the_components() -> None:
    program = (
        "import json, sys\n"
        "sys.argv = ['millrace', '--help']\n"
        "from millrace.pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not [name for name in loaded if name.split(".")[0] in (*HEAVY, "pydantic", "yaml")]
    assert not [name for name in loaded if name.startswith("millrace.components.")]
