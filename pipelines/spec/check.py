"""Graph checks: what a spec can get wrong beyond its single values, one small function per rule.

Every rule yields all its findings; errors stop a command before anything runs, warnings are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from millrace.components import registry

from . import models as specs
from . import secrets
from .graph import ancestors, cycles
from .models import Graph, Node, Pipeline, closest
from .source_map import Mistake, SpecError

Rule = Callable[[Graph], Iterator[Mistake]]
SINKS = ("report", "package", "decisions", "rollouts", "mixture")


def errors(pipeline: Graph) -> list[Mistake]:
    """Every mistake in the graph."""
    rules: tuple[Rule, ...] = (
        ports_exist,
        inputs_given,
        inputs_fit,
        references_exist,
        kinds_fit,
        acyclic,
        hosts_fit,
    )
    return [mistake for rule in rules for mistake in rule(pipeline)]


def warnings(pipeline: Graph) -> list[Mistake]:
    """Everything that is allowed but probably not meant; the graph must be free of errors."""
    return [mistake for rule in (outputs_used, gate_before_package) for mistake in rule(pipeline)]


def load(
    path: Path,
    *,
    profile: str | None = None,
    sets: tuple[str, ...] | list[str] = (),
    store: str | None = None,
) -> Pipeline:
    """Reads a spec and checks its graph; see ``spec.load``.

    Raises:
        SpecError: With every mistake found.
    """
    source = specs.read(path, profile=profile, sets=sets, store=store)
    spec, graph, mistakes = specs.understand(source)
    mistakes = [*mistakes, *secrets.found(source), *errors(graph)]
    if spec is None or mistakes:
        raise SpecError(sorted(mistakes, key=lambda mistake: _line(mistake.where)))
    return Pipeline(graph.nodes, source, spec, path.absolute().parent)


def ports_exist(pipeline: Graph) -> Iterator[Mistake]:
    """Every input names a port of the component, one or many as the port takes."""
    for node in pipeline.nodes.values():
        ports = node.component.inputs
        for name, value in node.stage.inputs.items():
            if name not in ports:
                yield _mistake(
                    pipeline,
                    node,
                    name,
                    f"{node.component.name} has no input {name!r}{closest(name, list(ports))}",
                )
            elif ports[name].many and isinstance(value, str):
                yield _mistake(
                    pipeline,
                    node,
                    name,
                    f"got one reference {value!r}, expected a mapping {{label: stage.port}}",
                )
            elif not ports[name].many and not isinstance(value, str):
                yield _mistake(pipeline, node, name, "got a mapping, expected one reference stage.port")


def inputs_given(pipeline: Graph) -> Iterator[Mistake]:
    """Every required input is there."""
    for node in pipeline.nodes.values():
        for name, port in node.component.inputs.items():
            if not port.optional and not node.stage.inputs.get(name):
                offers = [
                    f"{other.name}.{output}"
                    for other in pipeline.nodes.values()
                    for output, offered in other.component.outputs.items()
                    if offered.kind == port.kind and other is not node
                ]
                hint = f", for example {offers[-1]}" if offers else ""
                yield _mistake(
                    pipeline,
                    node,
                    None,
                    f"the input {name!r} is missing, expected a {port.kind} output{hint}",
                )


def inputs_fit(pipeline: Graph) -> Iterator[Mistake]:
    """Every configuration fits the inputs that are given beside it."""
    for node in pipeline.nodes.values():
        if node.component.misfits:
            for message in node.component.misfits(node.config, node.stage.inputs.keys()):
                yield _mistake(pipeline, node, None, message)


def references_exist(pipeline: Graph) -> Iterator[Mistake]:
    """Every reference names a stage and one of its outputs."""
    for node in pipeline.nodes.values():
        for port, label, stage, output in node.references():
            if stage in pipeline.unreadable:
                continue
            if stage not in pipeline.nodes:
                message = (
                    f"got {stage!r}, expected a stage of this spec{closest(stage, list(pipeline.nodes))}"
                )
            elif output not in pipeline.nodes[stage].component.outputs:
                outputs = list(pipeline.nodes[stage].component.outputs)
                message = f"{stage} has no output {output!r}{closest(output, outputs)}"
            else:
                continue
            yield _mistake(pipeline, node, port, message, label)


def kinds_fit(pipeline: Graph) -> Iterator[Mistake]:
    """Every output is of the kind of the port that it flows into."""
    for node in pipeline.nodes.values():
        for port, label, stage, output in node.references():
            upstream = pipeline.nodes.get(stage)
            if (
                upstream is None
                or output not in upstream.component.outputs
                or port not in node.component.inputs
            ):
                continue
            got, expected = upstream.component.outputs[output].kind, node.component.inputs[port].kind
            if got != expected:
                yield _mistake(
                    pipeline, node, port, f"{stage}.{output} is of kind {got}, expected {expected}", label
                )


def acyclic(pipeline: Graph) -> Iterator[Mistake]:
    """No stage needs itself; one finding names the whole cycle."""
    for path in cycles(pipeline.nodes):
        message = f"stages need each other in a cycle: {' -> '.join(path)}"
        yield _mistake(pipeline, pipeline.nodes[path[0]], None, message)


def hosts_fit(pipeline: Graph) -> Iterator[Mistake]:
    """Only components that can run on several hosts are asked to."""
    able = [name for name in registry.names() if registry.get(name).several_hosts]
    for node in pipeline.nodes.values():
        hosts = node.stage.resources.hosts
        if hosts > 1 and not node.component.several_hosts:
            path = ("stages", node.name, "resources", "hosts")
            message = f"got {hosts}, expected 1: {node.component.name} runs on one host (several: {', '.join(able)})"
            yield Mistake(pipeline.source.where(path), ".".join(path), message)


def outputs_used(pipeline: Graph) -> Iterator[Mistake]:
    """Something uses each stage, or it makes something for people."""
    used = {(stage, output) for node in pipeline.nodes.values() for _, _, stage, output in node.references()}
    for node in pipeline.nodes.values():
        outputs = node.component.outputs
        if any((node.name, output) in used for output in outputs):
            continue
        if not any(port.kind in ("package", "model") for port in outputs.values()) and not all(
            port.kind in SINKS for port in outputs.values()
        ):
            yield _mistake(pipeline, node, None, f"nothing uses its outputs ({', '.join(outputs)})")


def gate_before_package(pipeline: Graph) -> Iterator[Mistake]:
    """A package leaves only through a gate."""
    for node in pipeline.nodes.values():
        if any(port.kind == "package" for port in node.component.outputs.values()):
            upstream = ancestors(pipeline.nodes, node.name)
            if not any(pipeline.nodes[name].component.gate for name in upstream):
                yield _mistake(
                    pipeline, node, None, "makes a package with no gate upstream; add a stage that uses gate"
                )


def profiles(pipeline: Pipeline, path: Path) -> Iterator[Mistake]:
    """Every profile gives a valid spec."""
    for name in pipeline.spec.profiles:
        try:
            load(path, profile=name)
        except SpecError as error:
            for mistake in error.mistakes:
                yield Mistake(mistake.where, mistake.path, f"with --profile {name}: {mistake.message}")


def _line(where: str) -> int:
    """The line of a place in the file; what the command line says comes first."""
    line = where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


def _mistake(
    pipeline: Graph, node: Node, port: str | None, message: str, label: str | None = None
) -> Mistake:
    path = ("stages", node.name, *(("inputs", port) if port else ()), *((label,) if label else ()))
    return Mistake(pipeline.source.where(path), ".".join(path), message)
