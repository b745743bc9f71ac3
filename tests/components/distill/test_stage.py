"""Distillation as stages: it learns from a teacher online or stored, resumes to the same bytes, names what does not fit."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.small_training import files

from millrace.components import registry
from millrace.components.contract import Artifact, ComponentError, Inputs
from millrace.components.teacher_logits.config import TeacherLogitsConfig
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training import streams as token_stream
from millrace.data.training.stored_logits import StoredLogits
from millrace.model.losses.distillation import teacher_states
from millrace.model.package import weights
from millrace.pipelines.stages.context import StageContext

STUDENT = {"layers": 1, "model_size": 16, "heads": 1, "kv_heads": 1, "head_size": 16, "feed_forward_size": 24}
TEACHER = {"layers": 1, "model_size": 32, "heads": 2, "kv_heads": 1, "head_size": 16, "feed_forward_size": 48}
ORDER: dict[str, Any] = {
    "phases": [
        {"until_tokens": 4 * 16 * 8, "sequence_length_tokens": 16, "weights": {"code": 3, "docs": 1}},
        {"until_tokens": 4 * 16 * 8 + 2 * 32 * 8, "sequence_length_tokens": 32, "weights": {"docs": 1}, "batch_size": 2},
    ],
    "packing": "documents",
    "batch_size": 4,
    "max_epochs": 100,
}  # fmt: skip
TRAINING: dict[str, Any] = ORDER | {
    "phases": [ORDER["phases"][0], ORDER["phases"][1] | {"rope_base": 50_000.0, "learning_rate": 0.01}],
    "learning_rate": 0.02,
    "warmup_steps": 2,
    "checkpoint_every_steps": 5,
    "digest_every_steps": 4,
    "accumulate_steps": 2,
}
K = 8


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distill")


def run(
    component: str, base: Path, name: str, config: Mapping[str, Any], inputs: Mapping[str, Path], **given: Any
) -> dict[str, Path]:
    """Runs a component; in a folder of its name unless a work folder is given. Returns its outputs."""
    outputs = {port: base / name / port for port in registry.get(component).outputs}
    for folder in outputs.values():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    work = base / name / "work"
    work.mkdir(exist_ok=True)
    seed, digests = given.get("seed", 0), given.get("digests", {})
    context = StageContext(
        seed=seed, work=work, outputs=outputs, emit=lambda event: None, log=logging.getLogger(name)
    )
    ports = {port: Artifact(path, "", digests.get(port, "0" * 64), port) for port, path in inputs.items()}
    found = registry.get(component)
    registry.run_of(found)(context, found.config.model_validate(config), Inputs(ports))
    return outputs


@pytest.fixture(scope="module")
def teacher(base: Path, corpus: dict[str, Path]) -> Path:
    """A model of twice the width, trained on the same streams."""
    phases = [ORDER["phases"][0] | {"until_tokens": 8 * 32 * 30, "sequence_length_tokens": 32}]
    config = ORDER | {"phases": phases, "batch_size": 8, "model": TEACHER, "learning_rate": 0.02}
    inputs = {port: corpus[port] for port in ("tokens", "tokenizer")}
    return run("pretrain", base, "teacher", config, inputs)["model"]


@pytest.fixture(scope="module")
def inputs(corpus: dict[str, Path], teacher: Path) -> dict[str, Path]:
    """Tokens, tokenizer and teacher."""
    return {"tokens": corpus["tokens"], "tokenizer": corpus["tokenizer"], "teacher": teacher}


@pytest.fixture(scope="module")
def logits(base: Path, inputs: dict[str, Path]) -> dict[str, Path]:
    """What the teacher says, k tokens a position, in shards of two or three steps."""
    return run("teacher_logits", base, "logits", ORDER | {"top_k": K, "shard_tokens": 200}, inputs)


@pytest.fixture(scope="module")
def stored(inputs: dict[str, Path], logits: dict[str, Path]) -> dict[str, Path]:
    """Inputs of a student of stored logits."""
    return {port: path for port, path in inputs.items() if port != "teacher"} | {"teacher_logits": logits["logits"]}  # fmt: skip


def student(**distillation: Any) -> dict[str, Any]:
    return TRAINING | {"model": STUDENT, "distillation": {"weight": 0.75, **distillation}}


@pytest.fixture(scope="module")
def online(base: Path, inputs: dict[str, Path], corpus: dict[str, Path]) -> dict[str, Path]:
    """A student that saw k of its teacher's tokens online."""
    return run("distill", base, "online", student(top_k=K), inputs | {"benchmarks": corpus["benchmarks"]})


@pytest.fixture(scope="module")
def undisturbed(base: Path, stored: dict[str, Path], corpus: dict[str, Path]) -> dict[str, Path]:
    """A student of stored logits."""
    return run("distill", base, "stored", student(), stored | {"benchmarks": corpus["benchmarks"]})


def curve(outputs: Mapping[str, Path], name: str) -> np.ndarray:
    report = json.loads((outputs["report"] / "report.json").read_text())
    return np.asarray([entry[name] for entry in report[name]])


def test_a_student_learns_and_the_report_tells_both_parts(
    online: dict[str, Path], corpus: dict[str, Path]
) -> None:
    """Divergence, loss of the tokens and held-out bits fall; the loss is the weighted sum of both parts."""
    parts = {name: curve(online, name) for name in ("loss", "distillation_loss", "hard_loss")}
    np.testing.assert_allclose(
        parts["loss"], 0.75 * parts["distillation_loss"] + 0.25 * parts["hard_loss"], atol=2e-5
    )
    for values in parts.values():
        assert values[-1] < 0.8 * values[0]
    report = json.loads((online["report"] / "report.json").read_text())
    assert report["held_out"][-1]["bits_per_byte"] < 0.8 * report["held_out"][0]["bits_per_byte"]
    assert report["distillation"] == {"temperature": 1.0, "top_k": K, "weight": 0.75}
    config, _ = weights.load(online["model"])
    assert (config.model_size, config.rope_base, config.max_sequence_tokens) == (16, 50_000.0, 32)
    facts = json.loads((online["model"] / "training.json").read_text())
    assert facts["tokenizer_sha256"] == Tokenizer.load(corpus["tokenizer"]).sha256
    assert "distillation_loss" in (online["report"] / "report.html").read_text()


def test_stored_is_online_up_to_the_rounding_of_what_is_stored(
    online: dict[str, Path], undisturbed: dict[str, Path]
) -> None:
    """The same k from disk: every step's losses agree to a thousandth, though phases differ in rows and lengths."""
    for name in ("loss", "distillation_loss", "hard_loss"):
        np.testing.assert_allclose(curve(undisturbed, name), curve(online, name), rtol=2e-3)


def test_what_is_stored_is_what_the_teacher_says_of_each_step(
    inputs: dict[str, Path], logits: dict[str, Path]
) -> None:
    """Ids and log-probabilities of a step of each phase are those of the teacher's plain logits, its bytes as told."""
    from millrace.components.training.mixture.reading import open_reading, read_batch

    config = TeacherLogitsConfig.model_validate(ORDER)
    given = Inputs({port: Artifact(path, "", "", port) for port, path in inputs.items()})
    config, reading = open_reading("teacher_logits", 0, config, given)
    _, model = weights.load(inputs["teacher"])
    opened = StoredLogits.load(logits["logits"])
    for step in (1, 7, 8, 15):
        batch = jax.tree.map(jnp.asarray, read_batch(config, reading.streams, reading.mixture, step))
        theirs = np.asarray(model.unembed(teacher_states(model, batch)), np.float64)
        theirs -= np.log(np.exp(theirs).sum(-1, keepdims=True))
        log_probs, ids = opened.read(step)
        best = -np.sort(-theirs, axis=-1)[..., :K]
        np.testing.assert_allclose(np.take_along_axis(theirs, ids, -1), best, atol=1e-5)
        np.testing.assert_allclose(log_probs[..., :-1], best, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(np.exp(log_probs, dtype=np.float64).sum(-1), 1, atol=2e-3)
    report = json.loads((logits["report"] / "report.json").read_text())
    arrays = [path for path in logits["logits"].iterdir() if path.suffix == ".npy"]
    headers = 128 * len(arrays)
    size = sum(path.stat().st_size for path in arrays) - headers
    assert len(arrays) > 8
    assert size == report["bytes_per_token"] * report["tokens"] == (2 * (K + 1) + 2 * K) * 1024
    assert 0.3 < report["top_1_probability"] < report["top_k_probability"] < 1


class Killed(BaseException):
    """Stands for a kill: nothing in a component catches it."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Reading of rows that kills the stage at a row: the first item; rows read are appended."""
    asked: list[Any] = [0]
    read = token_stream.TokenStreams.read

    def counted(self: Any, *span: Any) -> Any:
        asked.append(span)
        if len(asked) - 1 == asked[0]:
            raise Killed
        return read(self, *span)

    monkeypatch.setattr(token_stream.TokenStreams, "read", counted)
    return asked


def test_a_killed_pass_goes_on_after_its_last_whole_shard(
    base: Path, inputs: dict[str, Path], logits: dict[str, Path], dying: list[Any]
) -> None:
    """Killed in the sixth step of sixteen: two shards of two or three steps are kept, and all files are the same."""
    config = ORDER | {"top_k": K, "shard_tokens": 200}
    dying[0] = 4 * 6 + 2
    with pytest.raises(Killed):
        run("teacher_logits", base, "logits again", config, inputs)
    before = len(dying)
    again = run("teacher_logits", base, "logits again", config, inputs)
    assert len(dying) - before == 4 * (8 - 6) + 2 * 8
    assert files(again) == files(logits)


def test_a_killed_distillation_ends_with_the_same_bytes(
    base: Path,
    stored: dict[str, Path],
    corpus: dict[str, Path],
    undisturbed: dict[str, Path],
    dying: list[Any],
) -> None:
    """Killed in its thirteenth step it goes on from the tenth: weights, report and digests of steps are the same bits."""
    every = stored | {"benchmarks": corpus["benchmarks"]}
    dying[0] = 4 * 8 + 2 * 5
    with pytest.raises(Killed):
        run("distill", base, "again", student(), every)
    before = len(dying)
    again = run("distill", base, "again", student(), every)
    assert len(dying) - before < 4 * 8
    assert files(again) == files(undisturbed)


@pytest.mark.parametrize(
    ("change", "given", "field"),
    [
        ({"batch_size": 8}, {}, r"phases\[0\].batch_size: teacher_logits 4, this training 8"),
        ({"packing": "concatenate"}, {}, "packing: teacher_logits 'documents', this training 'concatenate'"),
        ({"distillation": {"temperature": 2.0}}, {}, "temperature: teacher_logits 1.0, this training 2.0"),
        ({}, {"seed": 1}, "seed: teacher_logits 0, this training 1"),
        ({}, {"digests": {"tokens": "1" * 64}}, "tokens: teacher_logits '0+', this training '1+'"),
        ({"phases": TRAINING["phases"][:1]}, {}, "phases: teacher_logits 2, this training 1"),
        ({"distillation": {"top_k": 4}}, {}, "got top_k 4 and teacher_logits of 8 tokens a position"),
    ],
)
def test_logits_of_another_training_are_refused(
    base: Path, stored: dict[str, Path], change: dict[str, Any], given: dict[str, Any], field: str
) -> None:
    """Order, tokens, seed, temperature, k: the error names what differs and both values."""
    with pytest.raises(ComponentError, match=field):
        run("distill", base, "refused", student() | change, stored, **given)


def test_exactly_one_teacher_is_needed(base: Path, inputs: dict[str, Path], stored: dict[str, Path]) -> None:
    """Neither and both are errors."""
    for given in (inputs | stored, {port: stored[port] for port in ("tokens", "tokenizer")}):
        with pytest.raises(ComponentError, match="expected exactly one of teacher and teacher_logits"):
            run("distill", base, "refused", student(), given)


@pytest.mark.parametrize(
    ("component", "config"),
    [("distill", student()), ("teacher_logits", ORDER)],
    ids=["distill", "teacher_logits"],
)
def test_a_teacher_of_another_vocabulary_is_refused(
    base: Path, inputs: dict[str, Path], tmp_path: Path, component: str, config: dict[str, Any]
) -> None:
    """Also where the size is the same: by the tokenizer that it was trained with, and one that does not say is unknown."""
    shutil.copytree(inputs["teacher"], tmp_path / "other")
    facts = json.loads((tmp_path / "other" / "training.json").read_text())
    for of, said in ({"tokenizer_sha256": "f" * 64}, "tokenizer f{12}"), ({}, "no record of its tokenizer"):
        (tmp_path / "other" / "training.json").write_text(
            json.dumps({name: value for name, value in facts.items() if name != "tokenizer_sha256"} | of)
        )
        with pytest.raises(ComponentError, match=f"a teacher of {said}"):
            run(component, base, "refused", config, inputs | {"teacher": tmp_path / "other"})


def test_what_the_teacher_cannot_do_is_refused(base: Path, inputs: dict[str, Path], tmp_path: Path) -> None:
    """Rows longer than it was trained on, and more tokens than its vocabulary has."""
    config, model = weights.load(inputs["teacher"])
    shutil.copytree(inputs["teacher"], tmp_path / "short")
    weights.save(tmp_path / "short", replace(config, max_sequence_tokens=16), model)
    with pytest.raises(ComponentError, match="rows of 32 tokens and a teacher of rows of at most 16"):
        run("distill", base, "refused", student(), inputs | {"teacher": tmp_path / "short"})
    with pytest.raises(ComponentError, match="got top_k 5000 of a vocabulary of"):
        run("teacher_logits", base, "refused", ORDER | {"top_k": 5000}, inputs)


def test_a_disk_that_is_too_small_is_told_before_the_teacher_reads(
    base: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bytes of a token, and what there is."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=30_000))
    with pytest.raises(ComponentError, match="34 bytes for each of 1024 tokens"):
        run("teacher_logits", base, "refused", ORDER | {"top_k": K}, inputs)
