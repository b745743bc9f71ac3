"""``export``: one folder to ship, with weights in float32 and 4 bits, tokenizer, scores and the model card.

The gate is an input, not a flag: a package cannot be made before the gate's report exists, and a report that does not
say ``open`` is refused. The loss of 4 bits is measured on held-out text, in bits per byte, and when it grows by more
than ``max_loss_increase`` the stage fails, because a package whose small weights do not work must not look complete.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from millrace.components.artifacts import check_vocabulary, read_report
from millrace.components.contract import Artifact, ComponentError, Context, Inputs
from millrace.components.training import held_out
from millrace.data.documents.shards import read_shards
from millrace.data.tokenizer.tokenizer import FACTS_FILE, MODEL_FILE, Tokenizer
from millrace.model.package import package, weights
from millrace.model.package.package import Weights, read_decoder

from .card import CardFacts, render
from .config import ExportConfig

CHAT_FORMAT = {
    "description": (
        "The boundary token, then for each message its role token, the content and <|end|>; the model answers after "
        "<|assistant|> and ends with <|end|>. Text never encodes to a control token."
    ),
    "example": "<boundary><|system|>Be brief.<|end|><|user|>Hello<|end|><|assistant|>",
    "roles": ["system", "user", "assistant"],
}
LICENCE_CHARACTERS = 60


def run(context: Context, config: ExportConfig, inputs: Inputs) -> None:
    """Writes the package."""
    gate_input, evaluation_input = inputs.maybe("gate"), inputs.maybe("evaluation")
    gate = None if gate_input is None else read_report(gate_input)
    if gate is not None and gate.get("verdict") != "open":
        raise ComponentError(
            f"export: the gate's report says {gate.get('verdict')!r}, expected 'open'; connect `gate` to the report of "
            "a gate stage"
        )
    evaluation = None if evaluation_input is None else read_report(evaluation_input)
    model = inputs.one("model")
    evaluated_as = _label(config, evaluation, model.stage)
    shape, decoder = weights.load(model.path)
    tokenizer_folder = inputs.one("tokenizer").path
    tokenizer = Tokenizer.load(tokenizer_folder)
    ids = {"the model": shape.vocab_size, "the tokenizer": tokenizer.vocab_size}
    check_vocabulary("export", ids)

    folder = context.output("package")
    package.write_weights(
        folder, shape, decoder, group_size=config.group_size, embedding_bits=config.embedding_bits
    )
    for name in (MODEL_FILE, FACTS_FILE):
        shutil.copyfile(tokenizer_folder / name, folder / name)
    if evaluation_input is not None:
        shutil.copyfile(evaluation_input.path / "report.json", folder / package.EVALUATION_FILE)
    files = {"float32": package.FLOAT32_FILE, "int4": package.INT4_FILE}
    sizes = {form: (folder / name).stat().st_size for form, name in files.items()}
    loss = _losses(context, config, inputs.maybe("benchmarks"), folder, tokenizer)
    quantisation = {"group_size": config.group_size, "embedding_bits": config.embedding_bits}
    facts = CardFacts(
        name=config.name,
        license=config.license,
        languages=config.languages,
        intended_use=config.intended_use,
        shape=json.loads(shape.to_json()),
        parameters=shape.parameter_count(),
        tokenizer=json.loads((folder / FACTS_FILE).read_text(encoding="utf-8")),
        lineage=context.lineage,
        evaluation=evaluation,
        evaluated_as=evaluated_as,
        gate=gate,
        licences=_licences(inputs.maybe("documents")),
        bytes=sizes,
        quantisation=quantisation,
        loss=loss,
    )
    (folder / package.CARD_FILE).write_text(render(facts), encoding="utf-8")
    package.seal(
        folder,
        {
            "name": config.name,
            "parameters": facts.parameters,
            "weights": {
                form: {"file": name, "bytes": sizes[form], **(quantisation if form == "int4" else {})}
                for form, name in files.items()
            },
            "bits_per_byte": loss,
            "chat": CHAT_FORMAT,
            "evaluated_as": evaluated_as,
            "model_digest": model.digest,
        },
    )
    context.metric("parameters", facts.parameters)
    for form, size in sizes.items():
        context.metric(f"bytes_{form}", size)


def _label(config: ExportConfig, evaluation: dict[str, Any] | None, stage: str) -> str | None:
    """Under which label the evaluation has this model; None without an evaluation."""
    if evaluation is None:
        return None
    labels = sorted(evaluation.get("models", {}))
    if not labels:
        raise ComponentError(
            "export: the evaluation holds no models; connect `evaluation` to the report of evaluate"
        )
    label = config.evaluated_as or (stage if stage in labels else labels[0] if len(labels) == 1 else None)
    if label not in labels:
        raise ComponentError(
            f"export: got the label {label or stage!r} for this model, but the evaluation has {', '.join(labels)}; set "
            "`evaluated_as`"
        )
    return label


def _losses(
    context: Context, config: ExportConfig, benchmarks: Artifact | None, folder: Path, tokenizer: Tokenizer
) -> dict[str, dict[str, float]] | None:
    """Bits per byte of both forms of the weights on held-out text, ``all`` and by source; None without such text.

    Raises:
        ComponentError: The 4-bit weights lose too much.
    """
    texts = held_out.read(benchmarks, tokenizer, config.held_out_bytes)
    if not texts:
        context.log.info("no held-out text: the loss of quantisation is not measured")
        return None
    losses: dict[str, dict[str, float]] = {}
    forms: tuple[Weights, ...] = ("float32", "int4")
    for done, form in enumerate(forms):
        context.progress(done, len(forms), "forms of the weights")
        decoder = read_decoder(folder, form)
        measured = held_out.evaluation(texts, decoder.config.max_sequence_tokens, 1)
        assert measured is not None
        values = measured.measure(decoder)
        names = [name.removeprefix("bits_per_byte").removeprefix("_") or "all" for name in measured.names]
        losses[form] = {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}
        context.metric(f"bits_per_byte_{form}", losses[form]["all"])
    before, after = losses["float32"]["all"], losses["int4"]["all"]
    context.metric("bits_per_byte_increase", after - before)
    if not after <= before * (1 + config.max_loss_increase):
        raise ComponentError(
            f"export: 4 bits raise the held-out bits per byte from {before:.4f} to {after:.4f}, expected at most "
            f"{config.max_loss_increase:.0%} more; use embedding_bits: 8 or a smaller group_size (now "
            f"{config.group_size})"
        )
    return losses


def _licences(documents: Artifact | None) -> dict[str, int] | None:
    """Licence -> documents, from the documents' metadata; None when no documents are connected."""
    if documents is None:
        return None
    counts: dict[str, int] = {}
    for table in read_shards(documents.path, ["metadata"]):
        for text in table["metadata"].to_pylist():
            licence = (json.loads(text) if text else {}).get("license")
            # Some distributions put the whole licence into the field: its first line names it.
            lines = str(licence).strip().splitlines() if licence else []
            name = lines[0][:LICENCE_CHARACTERS].strip() if lines else "not stated"
            counts[name] = counts.get(name, 0) + 1
    return counts
