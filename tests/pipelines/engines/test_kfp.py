"""The compiled Kubeflow pipeline: its wiring, what it refuses, and that Kubeflow's own orchestrator can run it.

``kfp.local`` runs container components with Docker only, so the last test hands it a Docker whose containers are
child processes: Kubeflow's code reads the representation, orders the tasks, replaces the placeholders and passes the
parameters, and only the container is ours.

Goldens are written anew with ``MILLRACE_UPDATE_GOLDENS=1``.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from kfp import components, local
from kfp.local import task_dispatcher
from tests.sandbox import CHAIN, Sandbox

from millrace.components import registry
from millrace.components.contract import Component, Config, Port
from millrace.pipelines.engines import kfp, run_stage
from millrace.pipelines.spec import check
from millrace.pipelines.spec.models import Pipeline, resolve
from millrace.pipelines.spec.source_map import Source, SpecError

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"
IMAGE = "registry.example/millrace@sha256:" + "0" * 64


class _Nothing(Config):
    note: str = ""


def _component(name: str, inputs: dict[str, Port], outputs: dict[str, Port], **flags: bool) -> Component:
    return Component(name, f"Toy {name}.", _Nothing, outputs, "", inputs, **flags)  # type: ignore[arg-type]


TOYS = {
    "make": _component("make", {}, {"documents": Port("documents", ""), "held_out": Port("documents", "")}),
    "judge": _component(
        "judge", {"reports": Port("documents", "", many=True)}, {"report": Port("report", "")}, gate=True
    ),
    "card": _component(
        "card", {"documents": Port("documents", "")}, {"package": Port("package", "")}, reads_lineage=True
    ),
}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Pipeline]:
    """Makes pipelines of toys: a source, a gate, and a package that does not take the gate's report."""
    monkeypatch.setattr(registry, "COMPONENTS", {name: name for name in TOYS})
    monkeypatch.setattr(registry, "get", TOYS.__getitem__)

    def make(store: str = "s3://bucket/store", **note: Any) -> Pipeline:
        resources = {"cpu": 1.5, "memory": "4Gi", "retries": 2, "timeout": "2h"}
        resources["accelerator"] = {"type": "nvidia.com/gpu", "count": 2}
        stages = {
            "source_1": {"uses": "make", "resources": resources, "with": note},
            "card": {"uses": "card", "inputs": {"documents": "source_1.documents"}},
            "gate": {
                "uses": "judge",
                "resources": {"retries": 3},
                "inputs": {"reports": {"a-b": "source_1.documents", "a_b": "source_1.held_out"}},
            },
        }
        return resolve(Source({"name": "toys", "store": store, "stages": stages}), tmp_path)

    return make


def compiled(pipeline: Pipeline, tmp_path: Path) -> dict[str, Any]:
    output = tmp_path / "pipeline.kfp.yaml"
    kfp.compile_pipeline(pipeline, output, image=IMAGE)
    ir: dict[str, Any] = yaml.safe_load(output.read_text())
    return ir


def scrubbed(text: str) -> str:
    """The representation without what changes with every default of a component and every release of kfp."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    ir = yaml.safe_load(text)
    ir["sdkVersion"] = "kfp"
    ir["root"]["inputDefinitions"]["parameters"]["spec"]["defaultValue"] = "the resolved spec"
    return yaml.safe_dump(ir)


def check_golden(pipeline: Pipeline, name: str, tmp_path: Path) -> None:
    output = tmp_path / "pipeline.kfp.yaml"
    kfp.compile_pipeline(pipeline, output, image=IMAGE)
    golden, text = GOLDEN / name, scrubbed(output.read_text())
    if os.environ.get("MILLRACE_UPDATE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_small_pipeline_compiles_to_its_golden(toys: Callable[..., Pipeline], tmp_path: Path) -> None:
    check_golden(toys(), "toys.kfp.yaml", tmp_path)


def test_the_reference_pipeline_compiles_to_its_golden(tmp_path: Path) -> None:
    pipeline = check.load(ROOT / "pipeline.yaml", store="s3://bucket/store")
    check_golden(pipeline, "reference.kfp.yaml", tmp_path)


def test_the_same_spec_gives_the_same_bytes(toys: Callable[..., Pipeline], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.yaml", "two.yaml")]
    for file in files:
        kfp.compile_pipeline(toys(), file, image=IMAGE)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_containers_get_the_spec_that_was_compiled(toys: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipeline = toys(note="läuft")
    parameters = compiled(pipeline, tmp_path)["root"]["inputDefinitions"]["parameters"]
    again = run_stage.from_json(parameters["spec"]["defaultValue"], parameters["store"]["defaultValue"])
    assert again.resolved() == pipeline.resolved()


def test_every_task_has_its_resources_and_none_uses_kubeflows_cache(
    toys: Callable[..., Pipeline], tmp_path: Path
) -> None:
    ir = compiled(toys(), tmp_path)
    tasks, executors = ir["root"]["dag"]["tasks"], ir["deploymentSpec"]["executors"]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())
    resources = executors["exec-source-1"]["container"]["resources"]
    assert resources["accelerator"] == {
        "count": "2", "resourceCount": "2", "resourceType": "nvidia.com/gpu", "type": "nvidia.com/gpu",
    }  # fmt: skip
    assert (resources["cpuLimit"], resources["resourceMemoryLimit"]) == (1.5, "4Gi")
    assert tasks["source-1"]["retryPolicy"]["maxRetryCount"] == 2


def test_a_package_waits_for_the_gate_although_it_does_not_take_its_report(
    toys: Callable[..., Pipeline], tmp_path: Path
) -> None:
    tasks = compiled(toys(), tmp_path)["root"]["dag"]["tasks"]
    assert "gate" in tasks["card"]["dependentTasks"]
    assert "retryPolicy" not in tasks["gate"]


@pytest.mark.parametrize("store", [".millrace", "/srv/store", "memory://store"])
def test_a_store_that_containers_cannot_reach_is_refused(
    toys: Callable[..., Pipeline], tmp_path: Path, store: str
) -> None:
    with pytest.raises(SpecError, match=r"--store s3://my-bucket/millrace"):
        kfp.compile_pipeline(toys(store), tmp_path / "out.yaml", image=IMAGE)
    assert not list(tmp_path.iterdir())


def test_several_hosts_are_refused_where_they_stand(tmp_path: Path) -> None:
    """Not compiled for Kubeflow yet, and said before anything is written."""
    pipeline = check.load(
        ROOT / "pipeline.yaml", store="s3://bucket/store", sets=["stages.pretrain.resources.hosts=4"]
    )
    with pytest.raises(
        SpecError, match=r"pretrain.resources.hosts.*got 4, expected 1: stages on several hosts"
    ):
        kfp.compile_pipeline(pipeline, tmp_path / "out.yaml", image=IMAGE)
    assert not list(tmp_path.iterdir())


def test_a_spec_that_no_argument_can_hold_is_refused(toys: Callable[..., Pipeline], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected at most 114688"):
        kfp.compile_pipeline(toys(note="x" * 120_000), tmp_path / "out.yaml", image=IMAGE)


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Iterator[list[tuple[str, int]]]:
    """A Docker whose containers are child processes; yields the stages that were run, with exit codes."""
    ran: list[tuple[str, int]] = []

    def run(image: str, command: list[str], **settings: Any) -> Any:
        assert (image, command[:2]) == (IMAGE, ["millrace", "run-stage"])
        done = sandbox.call(*command[1:])
        ran.append((command[command.index("--stage") + 1], done.returncode))
        return SimpleNamespace(
            logs=lambda stream: [done.stderr.encode()], wait=lambda: {"StatusCode": done.returncode}
        )

    module: Any = ModuleType("docker")
    module.errors = SimpleNamespace(NotFound=FileNotFoundError)
    module.DockerClient = object
    module.from_env = lambda: SimpleNamespace(
        info=dict,
        close=lambda: None,
        images=SimpleNamespace(list=list, pull=lambda image: None),
        containers=SimpleNamespace(run=run),
    )
    monkeypatch.setitem(sys.modules, "docker", module)
    handler = importlib.import_module("kfp.local.docker_task_handler")
    monkeypatch.setattr(task_dispatcher, "docker_task_handler", handler, raising=False)
    monkeypatch.setattr(task_dispatcher, "_DOCKER_AVAILABLE", True)
    local.init(local.DockerRunner(), pipeline_root=str(sandbox.folder / "root"), raise_on_error=True)
    yield ran
    sys.modules.pop("kfp.local.docker_task_handler", None)


def submit(sandbox: Sandbox, store: str) -> None:
    """Compiles the sandbox's pipeline and lets Kubeflow's local orchestrator run it."""
    done = sandbox.call("compile", "--store", store, "--image", IMAGE)
    assert done.returncode == 0, done.stderr
    components.load_component_from_file(str(sandbox.folder / "pipeline.kfp.yaml"))()


def test_kubeflows_orchestrator_runs_the_compiled_pipeline_and_the_local_engine_reuses_it(
    docker: list[tuple[str, int]], sandbox: Sandbox
) -> None:
    store = f"file://{sandbox.folder}/objects"
    submit(sandbox, store)
    assert sorted(docker) == [(name, 0) for name in sorted(CHAIN)]
    [run] = [run["id"] for run in sandbox.json("runs", "--store", store)["runs"]]
    again = sandbox.run("--store", store)["stages"]
    assert {stage["status"] for stage in again.values()} == {"reused"}
    alone = sandbox.run()["stages"]
    assert {name: (stage["key"], stage["outputs"]) for name, stage in again.items()} == {
        name: (stage["key"], stage["outputs"]) for name, stage in alone.items()
    }
    assert "ran in" in sandbox.call("logs", "clean", "--run", run, "--store", store).stdout


def test_a_closed_gate_fails_its_task_and_nothing_after_it_is_started(
    docker: list[tuple[str, int]], sandbox: Sandbox
) -> None:
    store = f"file://{sandbox.folder}/objects"
    sandbox.write(CHAIN | {"gate": {**CHAIN["gate"], "with": {"most": 1}}})
    with pytest.raises(RuntimeError, match="gate"):
        submit(sandbox, store)
    assert dict(docker)["gate"] == 3
    assert "pack" not in dict(docker)
    assert [run["status"] for run in sandbox.json("runs", "--store", store)["runs"]] == ["closed"]
