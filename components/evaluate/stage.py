"""``evaluate``: every model on every benchmark, each score with its interval and its contamination.

All models get the same examples, chosen by a keyed hash of their ids, so that differences between models are not
differences between samples. A score stands beside chance level, where there is one, and beside the share of the
benchmark that was found in the training corpus: a high score on a leaked benchmark says nothing.

Measured on two shared cores: three models of 2.3 M parameters on 289 examples in 66 s of processor time, two thirds of
it for the first model, which compiles the programs that all of them use; peak 1.1 GiB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from millrace.components.artifacts import check_vocabulary, read_report
from millrace.components.contract import Artifact, ComponentError, Context, Inputs
from millrace.components.reports.files import write_json
from millrace.components.reports.markdown import table
from millrace.data.examples import benchmark_files
from millrace.data.examples.benchmark_files import Benchmark
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.package import weights

from . import scores
from .config import EvaluateConfig
from .scores import Score, Subject

HIGHER_IS_BETTER = {"accuracy_per_byte": True, "exact_match": True, "bits_per_byte": False}


def run(context: Context, config: EvaluateConfig, inputs: Inputs) -> None:
    """Scores each model on each benchmark and writes the report as JSON and Markdown."""
    models = inputs.many("models")
    if not models:
        raise ComponentError("evaluate: got no models, expected inputs.models to map labels to models")
    if unknown := sorted(set(config.chat_models) - set(models)):
        raise ComponentError(
            f"evaluate: chat_models names {', '.join(unknown)}, but the models are {', '.join(models)}"
        )
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    benchmarks = chosen_benchmarks(inputs.one("benchmarks"), config, context.seed)
    contamination = contamination_of(inputs.maybe("contamination"))

    report: dict[str, Any] = {"models": {}}
    done, total = 0, len(models) * len(benchmarks)
    for label, artifact in models.items():
        model_config, decoder = weights.load(artifact.path)
        ids = {f"model {label}": model_config.vocab_size, "the tokenizer": tokenizer.vocab_size}
        check_vocabulary("evaluate", ids)
        subject = Subject(model_config, decoder, tokenizer, label in config.chat_models)
        entries = {}
        for benchmark in benchmarks:
            score = score_of(subject, benchmark, config, context.seed)
            if not math.isfinite(score.figures["score"]):
                raise ComponentError(
                    f"evaluate: model {label} gives {benchmark.name} the score {score.figures['score']}; its weights "
                    "are not finite, so train it again with a lower learning_rate"
                )
            entries[benchmark.name] = entry(benchmark, score, contamination.get(benchmark.name, {}))
            context.metric(f"{label}/{benchmark.name}", score.figures["score"])
            context.log.info("%s on %s: %s %s", label, benchmark.name, score.metric, score.figures)
            done += 1
            context.progress(done, total, "scores")
        report["models"][label] = {"prompts": "chat" if subject.chat else "plain", "benchmarks": entries}
    for name, value in summary(list(report["models"].values())[-1]["benchmarks"]).items():
        context.metric(name, value)
    folder = context.output("report")
    write_json(folder / "report.json", report)
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")


def chosen_benchmarks(artifact: Artifact, config: EvaluateConfig, seed: int) -> list[Benchmark]:
    """The benchmarks to run with the examples to use.

    Raises:
        ComponentError: None at all, an unknown name, an empty benchmark, or examples that cannot be scored.
    """
    try:
        found = benchmark_files.read(artifact.path)
    except ValueError as error:
        raise ComponentError(f"evaluate: {error}; mend the benchmark") from error
    names = [benchmark.name for benchmark in found]
    if unknown := sorted(set(config.benchmarks) - set(names)):
        raise ComponentError(
            f"evaluate: benchmarks names {', '.join(unknown)}, but there are {', '.join(names)}"
        )
    if not found:
        raise ComponentError(
            "evaluate: got no benchmarks, expected at least one; look at the stage that makes them"
        )
    result = []
    for benchmark in found:
        if config.benchmarks and benchmark.name not in config.benchmarks:
            continue
        if not benchmark.examples:
            raise ComponentError(
                f"evaluate: benchmark {benchmark.name} has no examples; fill it or leave it out of `benchmarks`"
            )
        if benchmark.type == "text":
            by_source: dict[str, list[Mapping[str, Any]]] = {}
            for example in benchmark.examples:
                if example["text"].strip():
                    by_source.setdefault(example["source"], []).append(example)
            examples = [
                example
                for source in sorted(by_source)
                for example in benchmark_files.choose(by_source[source], config.max_documents, seed)
            ]
            if not examples:
                raise ComponentError(
                    f"evaluate: every document of benchmark {benchmark.name} is empty; fill it"
                )
        else:
            examples = benchmark_files.choose(benchmark.examples, config.max_examples, seed)
        result.append(benchmark_files.Benchmark(benchmark.name, benchmark.type, examples))
    return result


def contamination_of(artifact: Artifact | None) -> dict[str, Mapping[str, float]]:
    """Benchmark -> its entry in the report of ``decontaminate``; empty without a report."""
    if artifact is None:
        return {}
    report = read_report(artifact)
    if not isinstance(report.get("benchmarks"), dict):
        raise ComponentError(
            "evaluate: the contamination report has no benchmarks; connect `contamination` to the report of "
            "decontaminate"
        )
    return dict(report["benchmarks"])


def score_of(subject: Subject, benchmark: Benchmark, config: EvaluateConfig, seed: int) -> Score:
    """One model's score on one benchmark by the protocol of its type."""
    if benchmark.type == "multiple_choice":
        return scores.multiple_choice(subject, benchmark)
    if benchmark.type == "generation":
        return scores.generation(subject, benchmark, config.max_new_tokens, seed)
    return scores.bits_per_byte(subject, benchmark, config.max_document_bytes, seed)


def entry(benchmark: Benchmark, score: Score, contamination: Mapping[str, float]) -> dict[str, Any]:
    """A score as the report holds it, with the share of examples found in the corpus and left in the training text."""
    return {
        **score.figures,
        **score.more,
        "type": benchmark.type,
        "metric": score.metric,
        "higher_is_better": HIGHER_IS_BETTER[score.metric],
        "examples": score.examples,
        "contamination": contamination.get("share"),
        "contamination_left": contamination.get("remaining_share"),
    }


def summary(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The last model's accuracy, exact match and bits per byte, averaged over benchmarks, as the stage's metrics."""
    names = {"accuracy_per_byte": "accuracy", "exact_match": "exact_match", "bits_per_byte": "bits_per_byte"}
    result = {}
    for metric, name in names.items():
        if values := [found["score"] for found in entries.values() if found["metric"] == metric]:
            result[name] = sum(values) / len(values)
    return result


def markdown(report: Mapping[str, Any]) -> str:
    """The report as tables: a benchmark a row, a model a column; then bits per byte by source."""
    models = report["models"]
    labels = list(models)
    first = models[labels[0]]["benchmarks"]
    lines = [
        "# Evaluation",
        "",
        "Scores with 95% intervals: Wilson for accuracy and exact match, bootstrap over documents for bits per byte",
        "(lower is better). Contamination is the share of the benchmark's examples that the corpus repeated, and after the",
        "arrow what is left in the training text once the documents that repeat them are dropped.",
        "",
    ]
    rows = []
    for name, one in first.items():
        share = "not measured" if one["contamination"] is None else f"{one['contamination']:.1%}"
        if one["contamination_left"] is not None:
            share += f" \u2192 {one['contamination_left']:.1%}"
        chance = f"{one['chance']:.1%}" if "chance" in one else "-"
        cells = [_cell(models[label]["benchmarks"][name]) for label in labels]
        rows.append([name, one["metric"], str(one["examples"]), chance, share, *cells])
    lines += table(["benchmark", "metric", "examples", "chance", "contamination", *labels], rows)
    for name, one in first.items():
        if one["type"] == "text" and len(one["sources"]) > 1:
            rows = [
                [
                    source,
                    str(figures["examples"]),
                    *(_figure(models[label]["benchmarks"][name]["sources"][source], "") for label in labels),
                ]
                for source, figures in one["sources"].items()
            ]
            lines += ["", f"## {name} by source, bits per byte", ""]
            lines += table(["source", "documents", *labels], rows)
    return "\n".join(lines) + "\n"


def _cell(one: Mapping[str, Any]) -> str:
    return _figure(one, "" if one["type"] == "text" else "%")


def _figure(one: Mapping[str, Any], unit: str) -> str:
    if unit == "%":
        return f"{one['score']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
    return f"{one['score']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
