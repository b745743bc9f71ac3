"""``ablate_mixture``: weights for ``pretrain``, chosen by training small models on mixtures and measuring held-out text.

Proxies are trained on the prior, on given and on sampled mixtures. A regression of held-out loss on weights, the best of
several by leave-one-out error, proposes weights, and a proxy verifies them. The stage passes on the best measured
mixture, at worst the prior.

References:
    Gemini 1.0 report 2023, arXiv 2312.11805, section 4 (mixtures and weights by ablations on smaller models);
    Ye et al. 2024, Data Mixing Laws, arXiv 2403.16952; Liu et al. 2024, RegMix, arXiv 2407.01492.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.reports.files import write_json
from millrace.components.training import held_out as held_out_text
from millrace.components.training.mixture import proposed_weights
from millrace.data.mixing.bounds import Bounds, Floats
from millrace.data.mixing.search import Found, Tried, search
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training.streams import TokenStreams

from . import design as mixture_design
from . import report as ablate_report
from .config import AblateConfig
from .proxies import Proxies, in_words


def run(context: Context, config: AblateConfig, inputs: Inputs) -> None:
    """Trains the proxies, proposes, verifies, and writes weights and report."""
    streams = TokenStreams.load(inputs.one("tokens").path)
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    held_out = held_out_text.read(inputs.one("benchmarks"), tokenizer, config.held_out_bytes_per_source)
    importance = importance_of(config, held_out)
    design = mixture_design.design(config, streams.source_tokens, context.seed)
    planned = len(design.given) + config.verify
    proxies = Proxies(context, config, inputs, held_out, design.bounds, planned)
    context.log.info("%d proxies of %d tokens each, and the proposals", len(design.given), config.tokens)

    def measure(name: str, weights: Floats) -> Floats:
        losses = proxies.measure(name, weights)
        context.metric("objective", float(losses @ importance), proxies.count)
        return losses

    found = search(measure, design.given, design.bounds, importance, config.verify, [context.seed, 1])
    for doubt in found.doubts:
        context.log.warning("%s", doubt)
    best = found.best
    shape = config.proxy({"any": 1.0}).model_shape(streams.vocab_size)
    facts: dict[str, Any] = {
        "parameters": shape.parameter_count(),
        "tokens": config.tokens,
        "importance": dict(zip(held_out, map(float, importance), strict=True)),
        "most": design.bounds.named(design.bounds.largest()),
        **_facts(found, design.bounds, list(held_out)),
    }
    absent = dict.fromkeys(streams.sources, 0.0)
    runs = {one["name"]: one for one in facts["runs"]}
    chosen, prior = runs[best.name], runs[found.prior.name]
    write_json(
        context.output("mixture") / proposed_weights.FILE,
        {
            "weights": absent | chosen["weights"],
            "run": best.name,
            "predicted": {name: chosen[name] for name in ("predicted", "error")},
            "verified": {name: chosen[name] for name in ("objective", "bits_per_byte")},
            "prior": {name: prior[name] for name in ("weights", "objective", "bits_per_byte")},
        },
    )
    write_json(context.output("report") / "report.json", facts)
    (context.output("report") / "report.html").write_text(ablate_report.page(facts), encoding="utf-8")
    context.log.info("%s is best: %s", best.name, in_words(chosen["weights"]))
    context.metric("tokens_in", sum(streams.source_tokens.values()))
    context.metric("proxies", len(found.tried))
    context.metric("objective", best.objective)
    context.metric("prior_objective", found.prior.objective)
    if best.predicted is not None:
        context.metric("predicted_objective", best.predicted)
    if found.fits:
        context.metric("left_out_r2", found.fits[0].r2)
    for source, weight in chosen["weights"].items():
        context.metric(f"weight_{source}", weight)


def importance_of(config: AblateConfig, held_out: Mapping[str, Any]) -> Floats:
    """[H] the objective's weights of held-out sources, which sum to one.

    Raises:
        ComponentError: There is no held-out text, or none of a source that the objective names.
    """
    if not held_out:
        raise ComponentError(
            "ablate_mixture: got benchmarks without a text benchmark, expected held-out text to measure proxies on; "
            "hold documents out where sources are read, or leave max_texts above 0"
        )
    if unknown := sorted(config.objective.keys() - held_out.keys()):
        raise ComponentError(
            f"ablate_mixture: got an objective for {', '.join(map(repr, unknown))}, expected held-out sources: "
            f"{', '.join(held_out)}"
        )
    weights = np.asarray([config.objective.get(name, 0.0 if config.objective else 1.0) for name in held_out])
    return weights / weights.sum()


def _facts(found: Found, bounds: Bounds, held_out: list[str]) -> dict[str, Any]:
    """The mixtures tried, the fits and the result, as ``report.json`` holds them."""

    def of(tried: Tried) -> dict[str, Any]:
        return {
            "name": tried.name,
            "weights": bounds.named(tried.weights),
            "bits_per_byte": {
                name: round(float(loss), 5) for name, loss in zip(held_out, tried.losses, strict=True)
            },
            "objective": round(tried.objective, 5),
            "predicted": None if tried.predicted is None else round(tried.predicted, 5),
            "error": None if tried.error is None else round(tried.error, 5),
            "is_proposal": tried.is_proposal,
        }

    return {
        "runs": [of(tried) for tried in found.tried],
        "best": found.best.name,
        "forms": [
            {
                "form": fit.form,
                "r2": round(fit.r2, 4),
                "spearman": None if fit.spearman != fit.spearman else round(fit.spearman, 4),
                "rmse": round(fit.rmse, 5),
                "source_r2": {
                    name: round(float(r2), 4) for name, r2 in zip(held_out, fit.source_r2, strict=True)
                },
            }
            for fit in found.fits
        ],
        "doubts": list(found.doubts),
    }
