"""A stage on several hosts: real processes joined by JAX's coordinator over a socket, supervised, killed, restarted."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.sandbox import descendants
from tests.small_training import CONFIG, TEXTS, write_corpus
from tests.staging import run_stage

from millrace.components.contract import ComponentError
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training
from millrace.model.states import kept_states, state_file

Run = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hosts")
    special = (*tokenizers.CHAT_TOKENS, *tokenizers.reserved_tokens(2))
    trained = tokenizer_training.train(
        [*TEXTS.values()] * 2, vocab_size=300, algorithm="bpe", special=special, character_coverage=1.0
    )
    (folder / "tokenizer").mkdir()
    tokenizers.write(folder / "tokenizer", trained, special, {})
    return write_corpus(folder, folder / "tokenizer")


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, corpus: Mapping[str, Path]) -> Run:
    """Runs ``pretrain`` as a stage: ``train(hosts=2, retries=1, log_every_steps=1)``."""

    def run(
        folder: Path | None = None, hosts: int = 1, retries: int = 0, on_event: Any = None, **config: Any
    ) -> SimpleNamespace:
        done = run_stage(
            "pretrain",
            CONFIG | config,
            corpus,
            folder or tmp_path_factory.mktemp("store"),
            hosts=hosts,
            retries=retries,
            on_event=on_event,
        )
        report = json.loads((done.outputs["report"] / "report.json").read_text())
        return SimpleNamespace(
            weights=load_file(done.outputs["model"] / "weights.safetensors"),
            report=report,
            events=done.events,
            record=done.record,
            states=done.outputs["states"],
        )

    return run


@pytest.fixture(scope="module")
def alone(train: Run) -> SimpleNamespace:
    return train()


@pytest.fixture(scope="module")
def undisturbed(train: Run) -> SimpleNamespace:
    return train(hosts=2, keep_state_every_steps=10)


def running_hosts() -> list[int]:
    """This process's hosts, in the order of their start."""
    return sorted(child for child in descendants(os.getpid()) if b"host_process" in command_line(child))


def command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def killing(at: Mapping[int, int]) -> Callable[[dict[str, Any]], None]:
    """Kills host ``at[step]`` once, when host 0 has told the loss of that step.

    Its reports from before it was killed arrive after its end; the step is done again, and then counts.
    """
    left, most = dict(at), 0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal most
        if event["event"] == "metric" and event["name"] == "loss":
            hosts = running_hosts()
            most = max(most, len(hosts))
            if len(hosts) == most and event["step"] in left:
                os.kill(hosts[left.pop(event["step"])], signal.SIGKILL)

    return on_event


def same_bits(one: SimpleNamespace, other: SimpleNamespace) -> bool:
    return one.report == other.report and all(
        np.array_equal(weight, other.weights[name]) for name, weight in one.weights.items()
    )


def test_two_hosts_train_the_model_of_one(alone: SimpleNamespace, undisturbed: SimpleNamespace) -> None:
    """Weights, losses and held-out bits agree within float rounding, and the metrics are host 0's."""
    together = undisturbed
    assert together.weights.keys() == alone.weights.keys()
    for name, weight in together.weights.items():
        np.testing.assert_allclose(weight, alone.weights[name], atol=1e-5, rtol=0, err_msg=name)
    for ours, theirs in zip(together.report["loss"], alone.report["loss"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert together.record.metrics == pytest.approx(alone.record.metrics, rel=1e-4)
    assert kept_states.steps(together.states) == [10, 20]
    last = load_file(together.states / kept_states.folder_name(20) / state_file.FILE)
    for name, weight in together.weights.items():
        assert np.array_equal(last[f"train.params.{name}"], weight)


@pytest.mark.parametrize(
    ("host", "low"), [(1, 6), pytest.param(0, 11, marks=pytest.mark.slow)], ids=["a host", "the coordinator"]
)
def test_a_killed_host_ends_the_others_and_all_go_on_from_the_newest_checkpoint(
    train: Run, undisturbed: SimpleNamespace, host: int, low: int
) -> None:
    """Killed in the middle of a random step: the model is the undisturbed one, bit for bit."""
    step = random.Random(host).randrange(low, low + 4)
    done = train(hosts=2, retries=1, log_every_steps=1, on_event=killing({step: host}))
    (cause,) = [event["message"] for event in done.events if event["event"] == "retry"]
    assert cause.startswith(f"host {host} was ended by SIGKILL")
    assert same_bits(done, undisturbed)


def lose_memory(host: int) -> None:
    """Overwrites all that a host keeps in memory."""
    for number in memory_files(f"host {host}"):
        os.pwrite(number, b"x" * os.fstat(number).st_size, 0)


def memory_files(name: str = "host") -> list[int]:
    """This process's open files in memory whose names start so."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{number}").startswith(f"/memfd:{name}"):
                found.append(int(number))
    return found


def going_on(log: str) -> list[int]:
    """The steps from which host 0 went on, or the only host."""
    lines = [line for line in log.splitlines() if not line.startswith("host 1 ")]
    return [int(step) for step in re.findall(r"going on after (\d+) of", "\n".join(lines))]


def test_with_one_hosts_memory_lost_all_go_on_from_the_newest_copy(
    train: Run, undisturbed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each host holds half of the state; host 1 dies with its memory, and host 0 has its half, too."""
    kill = killing({13: 1})

    def on_event(event: dict[str, Any]) -> None:
        kill(event)
        if event["event"] == "retry":
            lose_memory(1)

    done = train(
        hosts=2,
        retries=1,
        log_every_steps=1,
        checkpoint_every_steps=1000,
        replica_every_steps=2,
        on_event=on_event,
    )
    log = capsys.readouterr().err
    assert "is lost: taken from host 0" in log
    assert going_on(log)[0] in (12, 14, 16, 18)
    assert same_bits(done, undisturbed)
    assert memory_files() == []


def test_one_host_goes_on_from_memory_as_well(
    train: Run, alone: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stage that keeps copies has a supervisor, and ends with the bits of a training without either."""
    done = train(
        retries=1,
        log_every_steps=1,
        checkpoint_every_steps=1000,
        replica_every_steps=1,
        on_event=killing({13: 0}),
    )
    assert going_on(capsys.readouterr().err)[0] >= 12  # the copy of step 13 follows its log
    assert same_bits(done, alone)


def test_hosts_that_die_more_often_than_the_stage_has_retries_fail_it_with_the_cause(
    train: Run, tmp_path: Path
) -> None:
    """Nothing of it is left running, and the next run goes on."""
    with pytest.raises(ComponentError, match=r"host 0 was ended by SIGKILL.*and the stage has no retries"):
        train(tmp_path, log_every_steps=1, replica_every_steps=5, on_event=killing({8: 0}))
    assert not [child for child in descendants(os.getpid()) if b"host_process" in command_line(child)]


@pytest.mark.parametrize(
    ("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)], ids=["fewer", "more"]
)
def test_asked_to_end_the_hosts_agree_on_a_step_and_another_number_of_hosts_goes_on_from_it(
    train: Run,
    alone: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: int,
    after: int,
) -> None:
    """SIGTERM reaches the supervisor only; the state is saved, and the error tells after which step."""

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "metric" and event["name"] == "loss" and event["step"] == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    never = {"checkpoint_every_steps": 1000, "log_every_steps": 1, "replica_every_steps": 100}
    with pytest.raises(
        ComponentError, match=r"stopped after (\d+) of 20 steps; the state is saved"
    ) as caught:
        train(tmp_path, hosts=before, retries=1, on_event=on_event, **never)
    stopped = int(str(caught.value).split("stopped after ")[1].split()[0])
    assert stopped >= 7
    done = train(tmp_path, hosts=after, **never)
    assert going_on(capsys.readouterr().err) == [stopped]
    for name, weight in done.weights.items():
        np.testing.assert_allclose(weight, alone.weights[name], atol=1e-5, rtol=0, err_msg=name)


@pytest.mark.slow
def test_kills_at_ten_random_steps_of_random_hosts_leave_no_trace(
    train: Run, undisturbed: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """With copies in memory every step, checkpoints every third and memory lost now and then."""
    chance = random.Random(1)
    steps = {step: chance.randrange(2) for step in chance.sample(range(1, 19), 10)}
    kill = killing(steps)

    def on_event(event: dict[str, Any]) -> None:
        kill(event)
        if event["event"] == "retry" and chance.random() < 0.3:
            lose_memory(chance.randrange(2))

    done = train(
        hosts=2,
        retries=10,
        log_every_steps=1,
        checkpoint_every_steps=3,
        replica_every_steps=1,
        on_event=on_event,
    )
    assert len(going_on(capsys.readouterr().err)) >= 8
    assert same_bits(done, undisturbed)
