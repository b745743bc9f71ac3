"""Running one stage against a store: every output or none, and an attempt begins where the last one was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from millrace.components import registry
from millrace.components.contract import Component, ComponentError, Config, Context, Port
from millrace.pipelines.stages.execute import execute, installed_versions, stage_inputs
from millrace.pipelines.stages.request import Request
from millrace.pipelines.store.store import Store

Work = Callable[[Context], None]
KEY = "k" * 64
SPLIT = Component(
    name="split",
    summary="Writes two outputs.",
    config=Config,
    inputs={"documents": Port("documents", "", many=True)},
    outputs={"documents": Port("documents", ""), "decisions": Port("decisions", "")},
    run="",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a stage of ``SPLIT`` whose work is a function of the context; returns ``execute``'s answer."""
    monkeypatch.setattr(registry, "get", lambda name: SPLIT)

    def run(work: Work, inputs: Mapping[str, Any] | None = None) -> Any:
        monkeypatch.setattr(
            registry, "run_of", lambda component: lambda context, config, given: work(context)
        )
        return execute(request(tmp_path, inputs or {}), lambda event: None, logging.getLogger("split"))

    return run


def request(folder: Path, inputs: Mapping[str, Any]) -> Request:
    return Request(
        store=str(folder / "store"),
        run="r",
        pipeline="p",
        stage="cut",
        component="split",
        key=KEY,
        config={},
        semantic={},
        seed=3,
        inputs=inputs,
        code="c",
        modules={},
    )


def write(*ports: str) -> Work:
    def work(context: Context) -> None:
        for port in ports:
            (context.output(port) / "file").write_text(port)
        context.metric("documents_out", len(ports))

    return work


@pytest.mark.parametrize("filled", ["documents", "decisions"])
def test_an_output_that_is_left_empty_fails_the_stage_and_nothing_is_published(
    run: Callable[..., Any], tmp_path: Path, filled: str
) -> None:
    (empty,) = SPLIT.outputs.keys() - {filled}
    with pytest.raises(ComponentError, match=f"split wrote nothing to its output '{empty}'"):
        run(write(filled))
    store = Store(str(tmp_path / "store"))
    assert (list(store.artifacts()), store.stage_keys()) == ([], [])


def test_a_stage_runs_once_and_its_record_says_what_it_made(run: Callable[..., Any], tmp_path: Path) -> None:
    record, ran = run(write("documents", "decisions"))
    store = Store(str(tmp_path / "store"))
    assert not store.work(KEY).exists()
    assert (ran, record.metrics) == (True, {"documents_out": 2.0})
    for port, output in record.outputs.items():
        manifest = store.manifest(output["digest"])
        assert manifest is not None
        assert (manifest["kind"], manifest["producer"]["port"]) == (port, port)
        assert (store.folder(output["digest"]) / "file").read_text() == port
    assert run(write()) == (record, False)
    assert not store.work(KEY).exists()


def test_after_a_failure_the_outputs_start_empty_and_the_work_folder_is_as_it_was(
    run: Callable[..., Any],
) -> None:
    def fails(context: Context) -> None:
        write("documents")(context)
        (context.work / "checkpoint").write_text("half")
        raise ComponentError("stop")

    def goes_on(context: Context) -> None:
        assert not list(context.output("documents").iterdir())
        assert (context.work / "checkpoint").read_text() == "half"
        write("documents", "decisions")(context)

    with pytest.raises(ComponentError, match="stop"):
        run(fails)
    assert run(goes_on)[1]


def test_inputs_are_handed_over_by_port_and_label(run: Callable[..., Any], tmp_path: Path) -> None:
    digest = run(write("documents", "decisions"))[0].outputs["documents"]["digest"]
    given = {"stage": "before", "digest": digest}
    store = Store(str(tmp_path / "store"))
    inputs = stage_inputs(request(tmp_path, {"one": given, "documents": {"left": given}}), store)
    for artifact in (inputs.one("one"), inputs.many("documents")["left"]):
        assert (artifact.kind, artifact.stage, artifact.digest) == ("documents", "before", digest)
        assert (artifact.path / "file").read_text() == "documents"
    with pytest.raises(ComponentError, match="no artifact 000000000000 that lost made; run that stage again"):
        stage_inputs(request(tmp_path, {"one": {"stage": "lost", "digest": "0" * 64}}), store)


def test_recorded_versions_are_of_what_is_installed() -> None:
    import numpy

    assert installed_versions()["numpy"] == numpy.__version__
    assert all(installed_versions().values())
