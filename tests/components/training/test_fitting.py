"""Whatever a stage trains, eight devices end where one does, and what it learns with is what its configuration says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.small_training import after_pretraining, assert_same_answers

from millrace.components import registry
from millrace.components.contract import ComponentError

CONFIGS: dict[str, dict[str, Any]] = {
    "sft": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01},
    "reward": {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3},
    "rlhf": {
        "steps": 5,
        "prompts_per_step": 4,
        "samples_per_prompt": 4,
        "learning_rate": 3e-3,
        "max_new_tokens": 8,
        "rule": "text",
        "held_out_prompts": 4,
    },
}
WEIGHTS = {"sft": "model", "reward": "reward", "rlhf": "model"}

RUN = """
import json, logging, sys
from pathlib import Path
from millrace.components import registry
from millrace.components.contract import Artifact, Inputs
from millrace.pipelines.stages.context import StageContext

asked = json.loads(sys.argv[1])
for name, told in asked.items():
    component, base = registry.get(name), Path(told["base"])
    outputs = {port: base / port for port in component.outputs}
    for folder in (*outputs.values(), base / "work"):
        folder.mkdir(parents=True)
    context = StageContext(seed=0, work=base / "work", outputs=outputs, emit=lambda event: None, log=logging.getLogger())
    inputs = {port: Artifact(Path(path), "", "0" * 64, port) for port, path in told["inputs"].items()}
    registry.run_of(component)(context, component.config.model_validate(told["config"]), Inputs(inputs))
"""


def test_eight_devices_end_where_one_does(tiny: SimpleNamespace, run_component: Any, tmp_path: Path) -> None:
    """Weights agree within 1e-5; a policy gives the same answers in every step, at the same reward and divergence."""
    asked = {
        name: {
            "base": str(tmp_path / name),
            "config": config | {"mesh": {"fsdp": 4, "tensor": 2}},
            "inputs": {port: str(path) for port, path in after_pretraining(name, tiny).items()},
        }
        for name, config in CONFIGS.items()
    }
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RUN, json.dumps(asked)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | flags)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, config in CONFIGS.items():
        outputs = run_component(name, config, after_pretraining(name, tiny)).outputs
        one, found = outputs[WEIGHTS[name]], 0
        for file in one.glob("*.safetensors"):
            spread, alone = load_file(tmp_path / name / WEIGHTS[name] / file.name), load_file(file)
            for tensor, weight in alone.items():
                np.testing.assert_allclose(spread[tensor], weight, atol=1e-5, rtol=0, err_msg=tensor)
                found += weight.size
        assert found > 10_000
        if name == "rlhf":
            assert_same_answers(tmp_path / name / "report", outputs["report"])


@pytest.mark.parametrize("name", ["sft", "reward"])
def test_rows_that_the_devices_do_not_divide_are_refused(
    name: str, tiny: SimpleNamespace, run_component: Any
) -> None:
    """Before anything is compiled, with what to change."""
    with pytest.raises(ComponentError, match=r"a mesh of 2 devices .* and 1 devices"):
        run_component(name, CONFIGS[name] | {"mesh": {"data": 2}}, after_pretraining(name, tiny))


@pytest.mark.parametrize("name", ["pretrain", "distill", "sft", "reward", "rlhf", "ablate_mixture"])
def test_all_trainings_are_told_the_same_in_the_same_words(name: str) -> None:
    """Names and descriptions of what every training by gradient steps has."""
    fields = registry.get(name).config.model_fields
    same = ("learning_rate", "warmup_steps", "on_non_finite", "max_skipped_steps", "mesh", "log_every_steps")
    reference = registry.get("pretrain").config.model_fields
    for field in (*same, "checkpoint_every_steps"):
        assert fields[field].description == reference[field].description
