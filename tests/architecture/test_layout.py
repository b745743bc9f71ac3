"""Where things stand: folders, components, test modules, sizes, dependencies."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest
from tests.architecture.tree import MODULES, ROOT, imports

from millrace.components import registry


@pytest.mark.parametrize("name", sorted(registry.COMPONENTS))
def test_a_component_is_a_folder_with_a_light_config_and_a_stage(name: str) -> None:
    folder = Path("components") / name
    assert {"__init__.py", "config.py", "stage.py"} <= {file.name for file in (ROOT / folder).iterdir()}
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core"}
    wrong = [
        f"{folder}/config.py:{line} imports {module}"
        for module, line in imports(folder / "config.py", top_only=True)
        if module.split(".")[0] not in allowed and not module.startswith("millrace.components.")
    ]
    assert wrong == []
    assert registry.get(name).run == f"millrace.components.{name}.stage:run"


MOST_ENTRIES = 12


def test_a_folder_holds_few_enough_entries_to_be_read_at_a_glance() -> None:
    folders = {ROOT / file.parent for file in MODULES} - {ROOT / "components"}
    entries = {
        str(folder.relative_to(ROOT)): [path for path in folder.iterdir() if path.name != "__pycache__"]
        for folder in folders
    }
    assert {name: len(own) for name, own in entries.items() if len(own) > MOST_ENTRIES} == {}


def test_every_folder_says_what_is_in_it() -> None:
    folders = {file.parent for file in MODULES}
    silent = [
        str(folder)
        for folder in folders
        if not ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_bytes()))
    ]
    assert silent == []


BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try)


def holds_logic(file: Path) -> bool:
    """Whether one of a module's functions has a branch, a loop or more than four statements."""
    functions = (
        node
        for node in ast.walk(ast.parse((ROOT / file).read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    for function in functions:
        inside = [node for statement in function.body for node in ast.walk(statement)]
        if any(isinstance(node, BRANCHES) for node in inside):
            return True
        if sum(isinstance(node, ast.stmt) for node in inside) > 4:
            return True
    return False


def test_each_module_that_holds_logic_has_a_test_module_of_its_name() -> None:
    """At the mirrored path: ``components/gate/rules.py`` has ``tests/components/gate/test_rules.py``."""
    tests = ROOT / "tests"
    missing = [
        str(file)
        for file in MODULES
        if file.name != "__init__.py"
        and holds_logic(file)
        and not (tests / file.parent / f"test_{file.name}").is_file()
    ]
    assert missing == []


def test_no_module_is_loaded_by_a_computed_name_outside_the_registry() -> None:
    users = []
    for file in MODULES:
        for node in ast.walk(ast.parse((ROOT / file).read_bytes())):
            name = getattr(node, "attr", getattr(node, "id", ""))
            if name in ("import_module", "__import__", "exec", "eval", "run_module", "run_path"):
                users.append(str(file))
    assert sorted(set(users) - {"components/registry.py"}) == []


def test_no_artifact_is_read_or_written_with_pickle() -> None:
    banned = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
    assert [str(file) for file in MODULES for name, _ in imports(file) if name.split(".")[0] in banned] == []


def declared(requirements: list[str]) -> set[str]:
    """The modules of some requirements."""
    names = {name.partition("[")[0].split(">")[0].split("<")[0].replace("-", "_") for name in requirements}
    modules = {"pyyaml": "yaml", "orbax_checkpoint": "orbax"}
    return {modules.get(name, name) for name in names}


def test_everything_imported_is_declared_as_a_dependency_and_extras_only_where_they_are_needed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = declared(project["dependencies"]) | {"millrace", "google", "pydantic_core"}
    extras = {name: own for name, own in project["optional-dependencies"].items() if name != "dev"}
    optional = declared([requirement for own in extras.values() for requirement in own])
    known = always | set(sys.stdlib_module_names)
    used = {name.split(".")[0] for file in MODULES for name, _ in imports(file)}
    assert used - known - optional == set()
    at_once = {name.split(".")[0] for file in MODULES for name, _ in imports(file, top_only=True)}
    assert at_once - known == set()


@pytest.mark.parametrize("file", [pytest.param(file, id=str(file)) for file in MODULES])
def test_a_module_is_short_and_says_what_it_is(file: Path) -> None:
    text = (ROOT / file).read_text()
    assert text.count("\n") < 500
    assert not text.strip() or ast.get_docstring(ast.parse(text))
    assert not set(file.with_suffix("").parts) & {"utils", "helpers", "manager", "common"}
