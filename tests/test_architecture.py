"""What points where: arrows between packages, what each module may import, how large it may be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from tests.sandbox import SPECS, Sandbox

from millrace import pipelines
from millrace.components import registry
from millrace.pipelines.plan.code_identity import CodeIndex

ROOT = Path(str(pipelines.__path__[0])).resolve().parent
PACKAGES = ("components", "data", "model", "pipelines")
ARROWS = {
    "pipelines": {"pipelines", "components", "data", "model"},
    "components": {"components", "data", "model"},
    "data": {"data"},
    "model": {"model"},
}
MODULES = sorted(file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
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


def imports(file: Path, *, top_only: bool = False) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, by its full name, with the line; ``millrace.data.x`` for relative ones."""
    tree = ast.parse((ROOT / file).read_bytes())
    package = ["millrace", *file.parent.parts]
    for node in at_top(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{name}.{alias.name}", node.lineno) for alias in node.names)


def at_top(tree: ast.Module) -> Iterator[ast.stmt]:
    """What runs when a module is imported: everything outside functions and type-checking blocks."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.stmt):
            yield node
        stack.extend(ast.iter_child_nodes(node))


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


WITHOUT = {
    "components/decontaminate/examples.py",
    "components/decontaminate/sample.py",
    "components/decontaminate/self_test.py",
    "components/decontaminate/shard.py",
    "components/dedup/similarity.py",
    "components/dedup/write.py",
    "components/dedup_spans/cut.py",
    "components/dedup_spans/passes.py",
    "components/filter/config.py",
    "components/filter/findings.py",
    "components/filter/rules/classifier.py",
    "components/filter/rules/heuristics/code.py",
    "components/filter/rules/language.py",
    "components/filter/rules/pii.py",
    "components/filter/rules/url.py",
    "components/filter/rules/words.py",
    "components/filter/shard.py",
    "components/ingest/config.py",
    "components/ingest/git.py",
    "components/ingest/shard.py",
    "components/ingest/source.py",
    "components/shards/bundles.py",
    "components/train_classifier/config.py",
    "components/training/replay.py",
    "data/sources/bytes/chunks.py",
    "data/sources/bytes/http_message.py",
    "data/sources/formats/arrow.py",
    "data/sources/formats/text.py",
    "data/sources/html/pages.py",
    "data/tokenizer/encoder_kernels.py",
    "data/tokenizer/encoder_tables.py",
    "data/tokenizer/encoder_words.py",
    "model/states/state_file.py",
    "pipelines/spec/survey.py",
}
"""Modules that have no test module of their own yet. Take a name out with its test or its move; add none."""


def test_each_module_that_holds_logic_has_a_test_module_of_its_name() -> None:
    """The mirrored path has it; a listed module that has one, or is gone, fails as well."""
    tests = Path(__file__).parent
    missing = {
        str(file)
        for file in MODULES
        if file.name != "__init__.py"
        and holds_logic(file)
        and not (tests / file.parent / f"test_{file.name}").is_file()
    }
    assert missing == WITHOUT


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


def exists(module: str) -> bool:
    path = ROOT.joinpath(*module.removeprefix("millrace.").split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


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
    """What counts for a component's bytes and is not part of its identity; the registry only looks it up."""
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
