"""``millrace models`` shows what the configs say, for people and for programs."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from millrace.model.network.presets import PRESETS
from millrace.pipelines.cli import app


def test_the_table_is_computed_from_the_presets() -> None:
    """Every preset is listed with its own counts; the vocabulary and the devices asked for enter them."""
    result = CliRunner().invoke(app, ["models", "--vocab-size", "1000", "--devices", "4", "--json"])
    rows = {row["preset"]: row for row in json.loads(result.output)["models"]}
    assert list(rows) == list(PRESETS)
    base = rows["base"]
    preset = PRESETS["base"]
    assert base["parameters"] == preset.parameter_count() - (preset.vocab_size - 1000) * preset.model_size
    assert abs(base["memory_bytes"]["state"] - 3 * base["parameters"]) < 100


def test_a_wrong_type_is_a_usage_error() -> None:
    """It says what was got and what there is, with the code of a usage error."""
    result = CliRunner().invoke(app, ["models", "--compute-dtype", "int8"])
    assert result.exit_code == 2
    assert "int8" in result.output
    assert "bfloat16" in result.output
