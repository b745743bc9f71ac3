"""A ``classifier`` artifact: a trained text classifier that gives documents probabilities.

    classifier.json        name, bits, max_words, bias, calibration, and per wanted label its precision curve
    weights.safetensors    weights, float32 [2**bits]

It is read by filters, which never load the packages that trained it: scoring is one compiled pass over a batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from millrace.data.text.batch import TextBatch

from . import hashed_ngrams

FACTS_FILE, WEIGHTS_FILE = "classifier.json", "weights.safetensors"
LABELS = ("positive", "negative")


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        name: The property it classifies ("quality").
        bits: Features hash into ``2**bits`` buckets.
        max_words: Words of a text that it reads.
        weights: float32 [2**bits].
        bias: Score of a text without words.
        slope: Of the calibration.
        intercept: Of the calibration.
        curves: Wanted label -> ``[threshold, precision, recall]`` from the highest threshold on, measured on texts
            that were not trained on.
    """

    name: str
    bits: int
    max_words: int
    weights: npt.NDArray[np.float32]
    bias: float
    slope: float
    intercept: float
    curves: Mapping[str, list[list[float]]]

    def scores(self, batch: TextBatch) -> npt.NDArray[np.float64]:
        """The raw score of each text, float64 [documents]."""
        found = hashed_ngrams.features(batch, bits=self.bits, max_words=self.max_words)
        return hashed_ngrams.scores(found, self.weights, self.bias)

    def probabilities(self, batch: TextBatch, wanted: str = "positive") -> npt.NDArray[np.float64]:
        """The calibrated probability that each text has the wanted label, float64 [documents]."""
        exponent = np.clip(-(self.slope * self.scores(batch) + self.intercept), -500, 500)
        positive = 1 / (1 + np.exp(exponent))
        return np.asarray(positive if wanted == "positive" else 1 - positive)

    def threshold(self, target_precision: float, wanted: str = "positive") -> float:
        """The lowest threshold that reaches the precision asked for.

        Raises:
            ValueError: No threshold reaches the precision.
        """
        reached = [point[0] for point in self.curves[wanted] if point[1] >= target_precision]
        if not reached:
            best = max((point[1] for point in self.curves[wanted]), default=0.0)
            raise ValueError(
                f"got target_precision {target_precision} for classifier {self.name!r}, expected at most the "
                f"{best:.3f} that it reaches on held-out texts: lower it, or give the classifier more examples"
            )
        return min(reached)

    def write(self, folder: Path) -> None:
        """Fills an artifact's folder."""
        facts: dict[str, Any] = {
            name: getattr(self, name) for name in ("name", "bits", "max_words", "bias", "slope", "intercept")
        }
        facts["curves"] = dict(self.curves)
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        save_file({"weights": np.ascontiguousarray(self.weights)}, folder / WEIGHTS_FILE)

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Reads an artifact."""
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return cls(weights=load_file(folder / WEIGHTS_FILE)["weights"], **facts)
