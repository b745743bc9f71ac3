"""The model card: ``MODEL_CARD.md`` in Hugging Face's format, written from the lineage and from nothing else.

Every number comes from a record of a stage upstream or from a report; a section whose stage is not in the pipeline says
so or is left out. There is no date and no path in it, so the same inputs give the same card.

References:
    Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv 1810.03993, for the sections.
    Hugging Face Hub documentation, "Model Cards", for the YAML header (license, tags, pipeline_tag, model-index).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from millrace.components.contract import Upstream
from millrace.components.reports.figures import number
from millrace.components.reports.markdown import table

DATA_COMPONENTS = ("ingest", "filter", "dedup", "decontaminate")
MOST_RULES = 6
MOST_LICENCES = 15


@dataclass(frozen=True)
class CardFacts:
    """The facts that the card is written from.

    Attributes:
        name: The model's name.
        license: The model's licence, as the Hub spells it.
        languages: Language tags.
        intended_use: Purpose of the model, in a sentence or more.
        shape: The model's configuration (``config.json``).
        parameters: Number of parameters.
        tokenizer: ``tokenizer.json``.
        lineage: Stages upstream, in topological order.
        evaluation: The evaluation report, or None.
        evaluated_as: Label of this model in that report, or None when unknown.
        gate: The gate's report, or None.
        licences: Licence -> training documents under it, or None when not counted.
        bytes: ``float32`` and ``int4`` -> size of the weights.
        quantisation: Group size and bits of the 4-bit weights.
        loss: Bits per byte by form of the weights and source, or None when not measured.
    """

    name: str
    license: str
    languages: Sequence[str]
    intended_use: str
    shape: Mapping[str, Any]
    parameters: int
    tokenizer: Mapping[str, Any]
    lineage: Sequence[Upstream]
    evaluation: Mapping[str, Any] | None
    evaluated_as: str | None
    gate: Mapping[str, Any] | None
    licences: Mapping[str, int] | None
    bytes: Mapping[str, int]
    quantisation: Mapping[str, int]
    loss: Mapping[str, Mapping[str, float]] | None


def render(facts: CardFacts) -> str:
    """The whole card."""
    sections = (_opening, _use, _data, _tokenizer, _training, _scores, _weights, _limits, _load, _digests)
    lines = [line for section in sections for line in (*section(facts), "")]
    return f"---\n{_front_matter(facts)}---\n\n" + "\n".join(lines).rstrip() + "\n"


def _front_matter(facts: CardFacts) -> str:
    """The YAML header.

    Not by ``huggingface_hub.ModelCardData``, though a test reads it with that: the package is an extra for sources of the
    Hub, and every install would carry it for one call of ``yaml.safe_dump``, whose bytes would then follow its version.
    """
    header: dict[str, Any] = {
        "license": facts.license,
        "language": list(facts.languages),
        "library_name": "millrace",
        "pipeline_tag": "text-generation",
        "tags": ["millrace", "text-generation", "jax", "int4"],
    }
    label = facts.evaluated_as
    if facts.evaluation is not None and label is not None:
        results = []
        for name, entry in sorted(facts.evaluation["models"][label]["benchmarks"].items()):
            metric = {
                "type": entry["metric"],
                "name": f"{_words(entry['metric'])} (95% interval {entry['low']:.4f} to {entry['high']:.4f})",
                "value": round(float(entry["score"]), 6),
            }
            task = {"type": "text-generation", "name": "Text Generation"}
            results.append({"task": task, "dataset": {"type": name, "name": name}, "metrics": [metric]})
        header["model-index"] = [{"name": facts.name, "results": results}]
    text: str = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=10_000)
    return text


def _opening(facts: CardFacts) -> list[str]:
    shape = facts.shape
    attention = "multi-query" if shape["kv_heads"] == 1 else "grouped-query"
    heads = f"{shape['kv_heads']} key-value head{'' if shape['kv_heads'] == 1 else 's'}"
    layers = f"gated feed-forward layers of {shape['feed_forward_size']}"
    if shape.get("experts"):
        layers = (
            f"sparse layers of {shape['experts']} experts of {shape['feed_forward_size']}, "
            f"{shape['experts_per_token']} for each token"
        )
    tied = "tied" if shape.get("tied_embedding", True) else "untied"
    return [
        f"# {facts.name}",
        "",
        f"A decoder-only Transformer with {facts.parameters:,} parameters: {shape['layers']} layers of width "
        f"{shape['model_size']}, {attention} attention ({shape['heads']} query heads on {heads} of "
        f"{shape['head_size']}), rotary positions, RMSNorm, {layers}, "
        f"{tied} embeddings, a context of {shape['max_sequence_tokens']:,} tokens.",
        "",
        "This card was written by the pipeline that made the model, from its records.",
    ]


def _use(facts: CardFacts) -> list[str]:
    return ["## Intended use", "", facts.intended_use]


def _data(facts: CardFacts) -> list[str]:
    """Sources, what each data stage did to them, and licences."""
    stages = [stage for stage in facts.lineage if stage.component in DATA_COMPONENTS]
    lines = ["## Training data", ""]
    if not stages:
        nothing = "The pipeline holds no data stage; see the digests for what it was given."
        return [*lines, nothing, "", *_licences(facts.licences)]
    for stage in stages:
        for name, source in sorted(stage.config.get("sources", {}).items()):
            if stage.component == "ingest":
                lines.append(f"- `{name}`: {_source(source)}")
    rows = [[stage.stage, *cells] for stage in stages for cells in _counts(stage.metrics)]
    headers = ["stage", "source", "documents in", "documents out", "bytes in", "bytes out"]
    lines += ["", *table(headers, rows)]
    reasons = []
    for stage in stages:
        dropped = {
            name.removeprefix("dropped."): int(count)
            for name, count in stage.metrics.items()
            if name.startswith("dropped.") and count
        }
        most = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{rule} {count:,}" for rule, count in most[:MOST_RULES])
        if listed:
            rest = f", {len(most) - MOST_RULES} other rules" if len(most) > MOST_RULES else ""
            reasons.append(f"- `{stage.stage}` dropped by rule: {listed}{rest}")
    if reasons:
        lines += ["", *reasons]
    return [*lines, "", *_licences(facts.licences)]


def _counts(metrics: Mapping[str, float]) -> Iterator[list[str]]:
    """Rows of documents and bytes before and after, a source each, and the sum."""
    names = ("documents_in", "documents_out", "bytes_in", "bytes_out")
    prefix = "documents_in."
    for source in sorted(name.removeprefix(prefix) for name in metrics if name.startswith(prefix)):
        yield [source, *(_count(metrics.get(f"{name}.{source}")) for name in names)]
    yield ["all", *(_count(metrics.get(name)) for name in names)]


def _source(source: Mapping[str, Any]) -> str:
    """A source in words, without where it lies on somebody's machine."""
    kind = source.get("type", "unknown")
    if kind == "python_environment":
        return f"{source.get('content')} of the installed Python distributions and the standard library"
    patterns = [PurePosixPath(str(path)).name for path in source.get("paths", ())]
    return f"{kind}: {', '.join(patterns)}" if patterns else str(kind)


def _licences(licences: Mapping[str, int] | None) -> list[str]:
    lines = ["### Licences of the training documents", ""]
    if licences is None:
        return [*lines, "Not counted in this run."]
    most = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    lines += ["As the sources state them.", ""]
    rows = [[name, _count(count)] for name, count in most[:MOST_LICENCES]]
    if len(most) > MOST_LICENCES:
        rest = sum(count for _, count in most[MOST_LICENCES:])
        rows.append([f"{len(most) - MOST_LICENCES} others", _count(rest)])
    return [*lines, *table(["licence", "documents"], rows)]


def _tokenizer(facts: CardFacts) -> list[str]:
    tokenizer = facts.tokenizer
    lines = [
        "## Tokenizer",
        "",
        f"SentencePiece ({tokenizer.get('algorithm', 'algorithm not recorded')}), {tokenizer['vocab_size']:,} ids with "
        "byte fallback, so every text can be written and comes back unchanged; control tokens are never made from text.",
    ]
    fertility = tokenizer.get("fertility") or {}
    if fertility:
        rows = [[name, f"{figures['bytes_per_token']:.3f}"] for name, figures in sorted(fertility.items())]
        lines += ["", *table(["source", "bytes per token"], rows)]
    return lines


def _training(facts: CardFacts) -> list[str]:
    """Pretraining and post-training, a stage a row, and what post-training changed."""
    lines = ["## Training", ""]
    trained = ("pretrain", "distill", "sft", "reward", "rlhf")
    rows = [_training_row(stage) for stage in facts.lineage if stage.component in trained]
    if not rows:
        return [*lines, "The pipeline holds no training stage; the model was given to it."]
    lines += table(["stage", "component", "budget", "learning rate", "final loss", "result"], rows)
    for stage in facts.lineage:
        if stage.component == "rlhf":
            names = [name.removesuffix("_after") for name in sorted(stage.metrics) if name.endswith("_after")]
            rows = [
                [
                    _words(name),
                    *(_number(stage.metrics.get(f"{name}_{when}")) for when in ("before", "after")),
                ]
                for name in names
            ]
            lines += [
                "",
                f"`{stage.stage}` on held-out prompts:",
                "",
                *table(["figure", "before", "after"], rows),
            ]
    return lines


def _training_row(stage: Upstream) -> list[str]:
    metrics, config = stage.metrics, stage.config
    if "tokens_out" in metrics:
        budget = f"{_count(metrics['tokens_out'])} tokens"
    elif isinstance(epochs := config.get("epochs"), (int, float)):
        budget = f"{epochs:g} epoch{'' if epochs == 1 else 's'}"
    else:
        budget = f"{_count(config.get('steps'))} steps"
    prefixes = ("bits_per_byte", "accuracy", "held_out_loss")
    results = []
    for name, value in sorted(metrics.items()):
        if name.startswith(prefixes) and not name.endswith(("_before", "_after")):
            before = metrics.get(f"{name}_before")
            was = f" (before {_number(before)})" if before is not None else ""
            results.append(f"{_words(name)} {_number(value)}{was}")
    rate = config.get("learning_rate")
    return [
        stage.stage,
        stage.component,
        budget,
        f"{rate:g}" if isinstance(rate, (int, float)) else "-",
        _number(metrics.get("loss")),
        ", ".join(results) or "-",
    ]


def _scores(facts: CardFacts) -> list[str]:
    lines = ["## Evaluation", ""]
    if facts.evaluation is None:
        return [*lines, "Not evaluated in this run."]
    models = facts.evaluation["models"]
    labels = sorted(models, key=lambda label: (label != facts.evaluated_as, label))
    heads = [f"{label} (this model)" if label == facts.evaluated_as else label for label in labels]
    lines += [
        "Scores with 95% intervals. Contamination is the share of a benchmark's examples that was found in the corpus "
        "before decontamination removed the documents that held them.",
        "",
    ]
    rows = []
    for name in sorted({name for model in models.values() for name in model["benchmarks"]}):
        entries = [models[label]["benchmarks"].get(name) for label in labels]
        one = next(entry for entry in entries if entry is not None)
        share = one.get("contamination")
        rows.append(
            [
                name,
                _words(one["metric"]) + ("" if one["higher_is_better"] else " (less is better)"),
                _count(one["examples"]),
                f"{one['chance']:.1%}" if "chance" in one else "-",
                "not measured" if share is None else f"{share:.2%}",
                *("-" if entry is None else _interval(entry) for entry in entries),
            ]
        )
    lines += table(["benchmark", "metric", "examples", "chance", "contamination", *heads], rows)
    if facts.gate is not None:
        names = ("rule", "subject", "got", "wanted", "verdict")
        rows = [[str(rule[name]) for name in names] for rule in facts.gate["rules"]]
        lines += ["", f"Gate: **{facts.gate['verdict']}**", "", *table(names, rows)]
    return lines


def _weights(facts: CardFacts) -> list[str]:
    how = facts.quantisation
    lines = [
        "## Weights and quantisation",
        "",
        f"`model-int4.safetensors` holds 4-bit codes in groups of {how['group_size']} along the input axis, each group "
        f"with a float16 scale and minimum; the embedding has {how['embedding_bits']} bits, norms stay float32.",
        "",
    ]
    sources = sorted(facts.loss["float32"]) if facts.loss else []
    rows = []
    for form in ("float32", "int4"):
        values = [f"{facts.loss[form][source]:.4f}" for source in sources] if facts.loss else []
        rows.append([form, _count(facts.bytes[form]), *values])
    if facts.loss:
        cells = [f"{facts.loss['int4'][name] - facts.loss['float32'][name]:+.4f}" for name in sources]
        rows.append(["difference", f"{facts.bytes['int4'] - facts.bytes['float32']:+,}", *cells])
    lines += table(["weights", "bytes", *(f"bits per byte, {source}" for source in sources)], rows)
    if not facts.loss:
        lines += ["", "The loss of quantisation was not measured: no held-out text was given to the export."]
    return lines


def _limits(facts: CardFacts) -> list[str]:
    tokens = facts.shape["max_sequence_tokens"]
    lines = [
        "## Limits",
        "",
        f"- With {facts.parameters:,} parameters it knows little beyond the style of its training text. What it says "
        "about facts, code or licences is often wrong: do not rely on it.",
        f"- It sees at most {tokens:,} tokens, prompt and answer together.",
        "- It was not tested for safety, bias or toxicity, and must not be used where these matter. It may repeat "
        "passages of its training documents, whose licences then apply.",
        f"- Languages other than {', '.join(facts.languages)} are outside its training.",
    ]
    if not any(stage.component == "decontaminate" for stage in facts.lineage):
        lines.append("- The corpus was not searched for benchmark examples: its scores may be inflated.")
    return lines


def _load(facts: CardFacts) -> list[str]:
    return [
        "## How to use it",
        "",
        "```sh",
        'millrace chat PACKAGE --prompt "What does this function do?"',
        "millrace serve PACKAGE --weights int4    # OpenAI's routes on localhost, port 8000",
        "```",
        "",
        "```python",
        "from pathlib import Path",
        "from millrace.data.tokenizer import Tokenizer",
        "from millrace.model.package import Package",
        "",
        "package = Package.open(Path('PACKAGE'))       # checks every file's digest",
        "decoder = package.decoder('int4')             # or 'float32'",
        "tokenizer = Tokenizer.load(package.folder)",
        "```",
    ]


def _digests(facts: CardFacts) -> list[str]:
    rows = [
        [stage.stage, stage.component, port, f"`{digest}`"]
        for stage in facts.lineage
        for port, digest in sorted(stage.outputs.items())
    ]
    return [
        "## Provenance",
        "",
        "Every artifact upstream, by the SHA-256 of its content; `millrace trace artifact DIGEST` follows each back.",
        "",
        *table(["stage", "component", "output", "digest"], rows),
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _count(value: float | None) -> str:
    return "-" if value is None else f"{int(value):,}"


def _number(value: float | None) -> str:
    return number(value, "-")


def _interval(entry: Mapping[str, float]) -> str:
    return f"{entry['score']:.4f} ({entry['low']:.4f} to {entry['high']:.4f})"
