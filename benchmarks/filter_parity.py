"""Whether our filter rules decide as datatrove's do, on any texts, and the record of it that the tests read.

    python benchmarks/filter_parity.py --peer-python VENV/bin/python --documents 'FOLDER/part-*.parquet'
    python benchmarks/filter_parity.py --peer-python VENV/bin/python --record tests/data/filters/datatrove.json

Prints for each rule on how many documents decision and reason are equal, and every difference. The record holds texts
that this file makes up (no corpus, no licence) with datatrove's decisions, about a third of them drops.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from collections import Counter
from glob import glob
from pathlib import Path
from typing import Any

REASONS = {
    "gopher_quality": {
        "gopher_short_doc": "min_words",
        "gopher_long_doc": "max_words",
        "gopher_below_avg_threshold": "min_mean_word_characters",
        "gopher_above_avg_threshold": "max_mean_word_characters",
        "gopher_too_many_hashes": "max_hash_fraction",
        "gopher_too_many_ellipsis": "max_ellipsis_fraction",
        "gopher_too_many_bullets": "max_bullet_line_fraction",
        "gopher_too_many_end_ellipsis": "max_ellipsis_line_fraction",
        "gopher_below_alpha_threshold": "min_alphabetic_word_fraction",
        "gopher_enough_stop_words": "min_stop_words",
    },
    "gopher_repetition": {
        "empty": "min_characters",
        "dup_para_frac": "max_duplicate_paragraph_fraction",
        "dup_para_char_frac": "max_duplicate_paragraph_character_fraction",
        "dup_line_frac": "max_duplicate_line_fraction",
        "dup_line_char_frac": "max_duplicate_line_character_fraction",
        **{f"top_{n}_gram": f"max_top_{n}_gram_character_fraction" for n in (2, 3, 4)},
        **{f"duplicated_{n}_n_grams": f"max_duplicate_{n}_gram_character_fraction" for n in range(5, 11)},
    },
    "c4": {
        "lorem_ipsum": "max_lorem_ipsum",
        "curly_bracket": "max_curly_brackets",
        "too_few_sentences": "min_sentences",
    },
    "fineweb": {
        "empty": "min_lines",
        "line_punct_ratio": "min_punctuated_line_fraction",
        "short_line_ratio": "max_short_line_fraction",
        "char_dup_ratio": "max_duplicate_line_character_fraction",
        "list_ratio": "max_newlines_per_word",
    },
}


def ours(texts: list[str]) -> list[dict[str, Any]]:
    """Our decisions in the form of ``theirs``: rule -> None for kept or the name of the bound, and C4's text."""
    import numpy as np

    from millrace.components.filter.rule import Rows
    from millrace.components.filter.stage import FilterConfig, bounds_of
    from millrace.data.text.batch import from_texts

    rows = Rows(from_texts(texts))
    found: list[dict[str, Any]] = [{} for _ in texts]
    config = FilterConfig.model_validate({"rules": {"it": [{"rule": name} for name in REASONS]}})
    for rule in config.rules["it"]:
        outcome, bounds = rule.apply(rows), bounds_of(rule)
        broken = np.array([bound.broken(outcome.values[bound.value]) for bound in bounds])
        names = [bound.name.partition(".")[2] for bound in bounds]
        for row, own in enumerate(found):
            own[rule.rule] = names[broken[:, row].argmax()] if broken[:, row].any() else None
            if outcome.edited is not None and own[rule.rule] is None:
                batch = outcome.edited.batch
                own["text"] = batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode()
    return found


def theirs(texts: list[str], peer_python: str) -> list[dict[str, Any]]:
    """datatrove's decisions, reasons in our words."""
    script = Path(__file__).with_name("datatrove_filters.py")
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder, "texts.jsonl"), Path(folder, "decisions.jsonl")
        given.write_text("".join(json.dumps(text) + "\n" for text in texts))
        subprocess.run([peer_python, script, "decide", given, answer], check=True)
        rows = [json.loads(line) for line in answer.read_text().splitlines()]
    return [
        {name: REASONS[name].get(value, value) if name in REASONS else value for name, value in row.items()}
        for row in rows
    ]


def made_up_texts(count: int, seed: int) -> list[str]:
    """Texts of random words in several scripts that run into every rule."""
    draw = random.Random(seed)
    syllables = [
        "ba",
        "ce",
        "di",
        "fo",
        "gu",
        "ka",
        "le",
        "mi",
        "no",
        "ru",
        "sa",
        "te",
        "vi",
        "zo",
        "lan",
        "mer",
        "tor",
        "the",
        "of",
        "and",
        "to",
        "a",
        "in",
    ]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(400)]
    words += ["the", "of", "and", "to", "that", "be", "with", "have"] * 12
    odd = [
        "—",
        "…",
        "...",
        "#",
        "##",
        "123",
        "1,5",
        "•",
        "-",
        "éa",
        "中文",
        "слово",
        "कखग",
        "[1]",
        "[edit]",
        "{",
        "javascript",
        "use",
        "cookies",
        "🙂",
        "é",
        "\xa0",
        "\u3000",
    ]
    ends = [". ", "! ", "? ", '." ', ", ", " ", " ", " ", "... ", "… ", ".[2] ", "。", ".) "]
    texts = ["", " ", "\n", "a", "a b\n\na b", "lorem ipsum dolor sit amet.", "x" * 1200 + " a b c."]
    while len(texts) < count:
        lines: list[str] = []
        oddness = draw.choice([0, 0, 0.01, 0.05, 0.3])
        variety = draw.choice([5, 60, 500])
        own = draw.sample(words, min(variety, len(words)))
        for _ in range(draw.choice([1, 3, 8, 20])):
            if lines and draw.random() < draw.choice([0, 0.05, 0.4]):
                lines.append(draw.choice(lines))
                continue
            length = draw.choice([2, 5, 12, 30])
            line = draw.choice(["", "", "", "- ", "• ", "  ", "\t"])
            for _ in range(length):
                line += draw.choice(odd) if draw.random() < oddness else draw.choice(own)
                line += draw.choice(ends) if draw.random() < 0.2 else " "
            lines.append(line.rstrip(" ") + draw.choice([".", ".", ".", "", "...", " ", "!", "”", "।"]))
        if draw.random() < 0.03:
            lines.insert(draw.randrange(len(lines)), "Here is lorem IPSUM again, for all to see.")
        texts.append(
            "".join(
                line + draw.choice(["\n"] * 6 + ["\n\n", "\r\n", "\n \n", "\x0b", "\u2028"]) for line in lines
            )
        )
    return texts


def compare(texts: list[str], peer_python: str) -> None:
    """Prints the agreement of each rule and the first differences."""
    our, their = ours(texts), theirs(texts, peer_python)
    for name in REASONS:
        differing = [row for row in range(len(texts)) if our[row][name] != their[row][name]]
        dropped = sum(row[name] is not None for row in their)
        print(f"{name}: {len(texts)} documents, {dropped} dropped, {len(differing)} decided differently")
        for (own, peer), count in Counter((our[row][name], their[row][name]) for row in differing).items():
            print(f"    ours {own}, theirs {peer}: {count}")
        for row in differing[:5]:
            print(f"      {texts[row][:160]!r}")
    both = [row for row in range(len(texts)) if our[row]["c4"] is None and their[row]["c4"] is None]
    changed = [row for row in both if our[row]["text"] != their[row]["text"]]
    print(f"c4: {len(both)} kept texts, {len(changed)} differ")
    for row in changed[:5]:
        print(f"      {our[row]['text'][:160]!r}\n      {their[row]['text'][:160]!r}")


def main() -> None:
    """Compares, or records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", required=True, help="an interpreter with datatrove")
    parser.add_argument("--documents", help="Parquet files with a column text")
    parser.add_argument(
        "--record", type=Path, help="where to write the made-up texts with datatrove's decisions"
    )
    arguments = parser.parse_args()
    if arguments.record:
        texts = made_up_texts(200, 0)
        rows = [
            {"input": text} | own
            for text, own in zip(texts, theirs(texts, arguments.peer_python), strict=True)
        ]
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        arguments.record.write_text(f"[\n{lines}\n]\n", "utf-8")
        compare(texts, arguments.peer_python)
    if arguments.documents:
        import pyarrow.parquet as pq

        texts = []
        for path in sorted(glob(arguments.documents)):
            texts += pq.read_table(path, columns=["text"])["text"].to_pylist()
        compare(texts, arguments.peer_python)


if __name__ == "__main__":
    main()
