"""Compiles a pipeline to Kubeflow's intermediate representation: one container component for each stage.

Each container runs ``millrace run-stage`` and looks in the store first. Tasks pass on the digests of
artifacts, as parameters: the artifacts stay in the store, and Kubeflow's own cache, which compares parameters and not
content, is off. Beside the digests every task leaves two small artifacts for Kubeflow's UI, its metrics and a page
about it. A gate fails its task, which skips everything that needs it; tasks that make a package wait for every gate
whether or not they take its report. Timeouts are kept by ``run-stage`` itself, since the representation has none for
a task, and there is no exit handler: every stage writes the run's record as it goes.

This is the only module that imports kfp.
"""

from __future__ import annotations

import inspect
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from kfp import compiler, components, dsl

from millrace.pipelines.spec.graph import ancestors, order
from millrace.pipelines.spec.models import Node, Pipeline, Resources
from millrace.pipelines.spec.source_map import Mistake, SpecError
from millrace.pipelines.stages.environment import STAGE_ENVIRONMENT

from .run_stage import KEY, METRICS, SUMMARY

SUFFIXES = (".yaml", ".yml")
# Linux passes at most 131,072 bytes in one argument, and Kubeflow's executor input holds the spec once more, quoted,
# with the other parameters and paths.
MAX_ARGUMENT_BYTES = 131_072 - 16_384


def compile_pipeline(pipeline: Pipeline, output: Path, *, image: str) -> None:
    """Writes the Kubeflow pipeline of a spec.

    Args:
        pipeline: The pipeline; its store must be a URI that containers can reach.
        output: The file, .yaml.
        image: The container image of every stage.

    Raises:
        SpecError: The spec cannot run on a cluster, with everything that keeps it from that.
    """
    mistakes = [*_store_mistakes(pipeline), *_hosts_mistakes(pipeline)]
    if output.suffix not in SUFFIXES:
        mistakes.append(Mistake("--output", "", f"got {output}, expected a name that ends in .yaml"))
    text = spec_json(pipeline)
    size = len(json.dumps(text))
    if size > MAX_ARGUMENT_BYTES:
        message = f"got a resolved spec of {size} bytes, expected at most {MAX_ARGUMENT_BYTES}, which one argument holds"
        mistakes.append(Mistake(pipeline.source.where(()), "", message))
    if mistakes:
        raise SpecError(mistakes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(_pipeline_component(pipeline, text, image), str(file))
        ir = file.read_text(encoding="utf-8")
    components.load_component_from_text(ir)
    aside = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        aside.write_text(ir, encoding="utf-8")
        os.replace(aside, output)
    finally:
        aside.unlink(missing_ok=True)


def spec_json(pipeline: Pipeline) -> str:
    """The resolved spec as the containers get it; the store travels as a parameter of its own."""
    resolved = pipeline.resolved()
    del resolved["store"]
    return json.dumps(resolved, separators=(",", ":"), ensure_ascii=False)


def _pipeline_component(pipeline: Pipeline, text: str, image: str) -> Any:
    """The dsl pipeline: a task for each stage, wired by digests."""
    nodes = pipeline.nodes

    def stages(spec: Any, store: Any) -> None:
        tasks: dict[str, Any] = {}
        for name in order(nodes):
            node = nodes[name]
            arguments = {
                parameter: tasks[stage].outputs[output]
                for parameter, (_, stage, output) in _parameters(pipeline, node).items()
            }
            task = _stage_component(pipeline, node, image)(
                spec=spec, store=store, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, **arguments
            )
            task.set_display_name(name).set_caching_options(False)
            for variable, value in STAGE_ENVIRONMENT.items():
                task.set_env_variable(variable, value)
            _set_resources(task, node.stage.resources, deterministic=node.component.gate)
            tasks[name] = task
        for name, gates in _gates_to_wait_for(pipeline).items():
            tasks[name].after(*(tasks[gate] for gate in gates))

    parameters = [_parameter("spec", str, text), _parameter("store", str, pipeline.spec.store)]
    stages.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return dsl.pipeline(name=pipeline.spec.name, description=f"Millrace pipeline {pipeline.spec.name}.")(
        stages
    )


def _stage_component(pipeline: Pipeline, node: Node, image: str) -> Any:
    """The container component of one stage."""
    inputs = _parameters(pipeline, node)
    outputs = [*node.component.outputs, KEY]

    def container(**given: Any) -> Any:
        # Plain text around placeholders, not ConcatPlaceholder: every Kubeflow launcher replaces them in place, older
        # ones know nothing else.
        arguments = ["--stage", node.name, "--spec-json", given["spec"], "--store", given["store"]]
        arguments += ["--job", given["job"]]
        for parameter, (option, _, _) in inputs.items():
            flag, name = option
            arguments += [flag, f"{name}={given[parameter]}"]
        for name in outputs:
            arguments += ["--output", f"{name}={given[name]}"]
        for name in (METRICS, SUMMARY):
            arguments += ["--output", f"{name}={given[name].path}"]
        arguments += ["--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
        return dsl.ContainerSpec(image=image, command=["millrace", "run-stage"], args=arguments)

    def component(*given: Any) -> Any:
        return container(**dict(zip((parameter.name for parameter in signature), given, strict=True)))

    signature = [_parameter(name, str) for name in ("spec", "store", "job", *inputs)]
    signature += [_parameter(name, dsl.OutputPath(str)) for name in outputs]
    signature += [_parameter(METRICS, dsl.Output[dsl.Metrics]), _parameter(SUMMARY, dsl.Output[dsl.Markdown])]
    component.__name__ = node.name
    component.__doc__ = node.component.summary
    component.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    return dsl.container_component(component)


def _parameters(pipeline: Pipeline, node: Node) -> dict[str, tuple[tuple[str, str], str, str]]:
    """Input parameter -> ((option, name) of run-stage, upstream stage, its output parameter)."""
    found: dict[str, tuple[tuple[str, str], str, str]] = {}

    def add(parameter: str, option: str, name: str, stage: str, output: str) -> None:
        plain = parameter.replace("-", "_")
        while plain in found:  # a label may hold an underscore too
            plain += "_"
        found[plain] = ((option, name), stage, output)

    for port, label, stage, output in node.references():
        joined = port if label is None else f"{port}_{label}"
        add(f"in_{joined}", "--input", port if label is None else f"{port}.{label}", stage, output)
    if node.component.reads_lineage:
        upstream = ancestors(pipeline.nodes, node.name)
        for stage in order(pipeline.nodes):
            if stage in upstream:
                add(f"upstream_{stage}", "--upstream", stage, stage, KEY)
    return found


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default
    )


def _gates_to_wait_for(pipeline: Pipeline) -> dict[str, list[str]]:
    """For every stage that makes a package, the gates before packages that it does not need anyway."""
    nodes = pipeline.nodes
    makers = {
        name
        for name, node in nodes.items()
        if any(port.kind == "package" for port in node.component.outputs.values())
    }
    gates = [
        name for name, node in nodes.items() if node.component.gate and not makers & ancestors(nodes, name)
    ]
    return {name: [gate for gate in gates if gate not in ancestors(nodes, name)] for name in sorted(makers)}


def _set_resources(task: Any, resources: Resources, *, deterministic: bool) -> None:
    """Requests and limits alike, so that a task gets what it asks for and is not evicted for taking more."""
    if resources.cpu is not None:
        cpu = f"{round(resources.cpu * 1000)}m"
        task.set_cpu_request(cpu).set_cpu_limit(cpu)
    if resources.memory is not None:
        task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.accelerator is not None:
        task.set_accelerator_type(resources.accelerator.type)
        task.set_accelerator_limit(resources.accelerator.count)
    if resources.retries and not deterministic:  # a gate's verdict does not change by asking again
        task.set_retry(resources.retries, backoff_duration="30s")


def _store_mistakes(pipeline: Pipeline) -> list[Mistake]:
    store = pipeline.spec.store
    if "://" in store and not store.startswith("memory://"):
        return []
    message = (
        f"got {store!r}, which only this machine can read, expected a URI that every container can, "
        "for example --store s3://my-bucket/millrace"
    )
    return [Mistake(pipeline.source.where(("store",)), "store", message)]


def _hosts_mistakes(pipeline: Pipeline) -> list[Mistake]:
    """Refuses several hosts: a task of this pipeline is one pod, whose processes would share its processors."""
    return [
        Mistake(
            pipeline.source.where(("stages", name, "resources", "hosts")),
            f"stages.{name}.resources.hosts",
            f"got {node.stage.resources.hosts}, expected 1: stages on several hosts are not compiled for Kubeflow yet; "
            "train on one host with more accelerators, or with `millrace run` on one machine",
        )
        for name, node in pipeline.nodes.items()
        if node.stage.resources.hosts > 1
    ]
