"""Changes one operator, number or branch at a time and shows which changes no test notices: ``make mutants``.

Cosmic Ray makes the changes, restores the files and remembers results; it changes a source file in place, so numba
kernels, imports through ``src/millrace`` and stages in processes of their own all see the change. (mutmut 3 keeps all
variants of a function behind a trampoline in one module, which Numba cannot compile.) Everything happens in a copy of
the tree below ``build/mutants``. A sample draws places first and then one change for each, since an addition has eleven
possible changes and an ``and`` has one.

A mutant is killed when a test of its mirrored module fails, or else of that module's folder, or when they run out of
time. Results are kept: a second call with the same seed and count, while the code stays, tests only the survivors.

    python tests/mutants.py --seed 1 --count 100
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cosmic_ray.ast import get_ast
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from millrace.model.judges.intervals import wilson

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "mutants"
TREE = BUILD / "tree"
WARM = BUILD / "kernels"
CORE = ("pipelines/plan", "pipelines/store", "data/training/mixture.py", "data/dedup", "components/gate")
ARITHMETIC = ("arith_expr", "term", "power", "expr", "xor_expr", "and_expr", "shift_expr")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="mutants in the sample (default: 100)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "paths", nargs="*", default=CORE, help="files and folders to change (default: the core)"
    )
    options = parser.parse_args()
    copy_tree()
    modules = [file for path in options.paths for file in files_of(path)]
    code = hashlib.sha256(b"".join((TREE / file).read_bytes() for file in modules)).hexdigest()[:12]
    session = BUILD / f"seed-{options.seed}-count-{options.count}-code-{code}.sqlite"
    os.chdir(TREE)  # mutants are named by paths in the tree
    with use_db(str(session)) as kept:
        if not kept.num_work_items:
            kept.add_work_items(sample(modules, options.seed, options.count))
        survivors = [item for item, result in kept.completed_work_items if not result.is_killed]
        run_all([*kept.pending_work_items, *survivors], kept)
        figures = report(kept)
    if options.json:
        (ROOT / options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def copy_tree() -> None:
    """Copies what git does not ignore, links as links, so that a mutant is never in the working tree."""
    shutil.rmtree(TREE, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if os.path.lexists(ROOT / name):
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name, follow_symlinks=False)


def files_of(path: str) -> list[Path]:
    """The modules at a path, relative to the tree, in order."""
    found = [TREE / path] if path.endswith(".py") else sorted((TREE / path).rglob("*.py"))
    return [file.relative_to(TREE) for file in found]


def sample(modules: Iterable[Path], seed: int, count: int) -> Iterator[WorkItem]:
    """Draws places in the code, evenly, and for each place one of its possible changes."""
    everything = BUILD / "everything.sqlite"
    everything.unlink(missing_ok=True)
    places: dict[tuple[str, tuple[int, int]], list[WorkItem]] = defaultdict(list)
    with use_db(str(everything)) as database:
        init(modules, database, {})
        for item in database.work_items:
            places[str(item.mutations[0].module_path), item.mutations[0].start_pos].append(item)
    draw = random.Random(seed)
    order = sorted(places)
    draw.shuffle(order)
    left = count
    for place in order:
        by_change = sorted(
            places[place], key=lambda item: (item.mutations[0].operator_name, item.mutations[0].occurrence)
        )
        draw.shuffle(by_change)
        chosen = next((item for item in by_change if can_be_killed(item.mutations[0])), None)
        if chosen is not None:
            yield chosen
            left -= 1
        if not left:
            return


def can_be_killed(mutation: MutationSpec) -> bool:
    """Whether a change reaches what the code computes, judged by its place in the syntax tree.

    Annotations are never evaluated, and a kernel that is not compiled, or a function that is not cached, gives the same
    values later. ``is`` and ``==`` agree on small integers and on names. A change has to be Python, too.
    """
    name = mutation.operator_name.removeprefix("core/")
    if name.startswith("ReplaceComparisonOperator"):
        _, old, new = name.split("_")
        if old.startswith("Is") != new.startswith("Is"):
            return False
    source = mutation.module_path.read_text(encoding="utf-8")
    leaf = get_ast(source).get_leaf_for_position(mutation.start_pos, include_prefixes=True)
    if name.startswith("ReplaceBinaryOperator") and leaf.parent.type not in ARITHMETIC:
        return False  # the star of a parameter list or of an unpacking
    node = leaf
    while node is not None:
        if node.type == "decorator":
            timing = any(word in node.get_code() for word in ("kernel", "cache"))
            return name == "RemoveDecorator" and not timing
        parent = node.parent
        annotated = parent is not None and parent.type in ("funcdef", "param", "tfpdef", "annassign")
        if annotated and node in (getattr(parent, "annotation", None), *annotation(parent)):
            return False
        node = parent
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    mutated = mutate_code(source, operator, mutation.occurrence)
    if mutated is None:
        return False
    try:
        compile(mutated, mutation.module_path, "exec")
    except SyntaxError:
        return False
    return ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))


def annotation(node: Any) -> tuple[Any, ...]:
    """The node's part behind a colon, where it annotates a variable or a parameter."""
    return tuple(
        node.children[1:2]
        if node.type == "annassign"
        else node.children[2:3]
        if node.type == "tfpdef"
        else ()
    )


def run_all(items: list[WorkItem], kept: WorkDB) -> None:
    """Tests mutants one by one; each starts from the compiled kernels of unchanged code and leaves none behind."""
    items.sort(key=lambda item: (str(item.mutations[0].module_path), item.mutations[0].start_pos))
    os.environ["PYTHONPATH"] = str(TREE / "src")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "compiled"))
    limits: dict[Path, float] = {}
    for number, item in enumerate(items, 1):
        file = item.mutations[0].module_path
        command = tests_of(file)
        if file.parent not in limits:
            limits[file.parent] = time_limit(file.parent)
        kernels = BUILD / "mutant-kernels"
        shutil.rmtree(kernels, ignore_errors=True)
        shutil.copytree(WARM, kernels)
        os.environ["NUMBA_CACHE_DIR"] = str(kernels)
        written = file.stat().st_mtime_ns
        start = time.monotonic()
        result = mutate_and_test(item.mutations, command, limits[file.parent])
        os.utime(file, ns=(written, written))  # Numba knows unchanged code by its time
        if result.worker_outcome != WorkerOutcome.NORMAL or result.test_outcome == TestOutcome.INCOMPETENT:
            raise SystemExit(f"{file}: Cosmic Ray could not test this mutant\n{result.output}")
        kept.set_result(item.job_id, result)
        line = f"{file}:{item.mutations[0].start_pos[0]}"
        print(f"{number}/{len(items)} {outcome(result)} {time.monotonic() - start:.0f} s {line}", flush=True)


def tests_of(file: Path) -> str:
    """The command that tests a module: its mirrored test module, and if that passes the rest of its folder."""
    folder = Path("tests") / file.parent
    mirrored = folder / f"test_{file.name}"
    rest = sorted(test for test in folder.glob("test_*.py") if test != mirrored)
    runs = [pytest(tests) for tests in ([mirrored] if mirrored.exists() else [], rest) if tests]
    return shlex.join(["sh", "-c", " && ".join(runs)])


def pytest(tests: Iterable[Path]) -> str:
    """A command that stops at the first failure."""
    options = "-q -x -n 0 -m 'not slow' -p no:cacheprovider --hypothesis-profile=mutants"
    return f"{shlex.quote(sys.executable)} -m pytest {options} {shlex.join(map(str, tests))}"


def time_limit(folder: Path) -> float:
    """Seconds that a mutant of this folder may take: half a minute beyond three times what compiled, unchanged code takes."""
    os.environ["NUMBA_CACHE_DIR"] = str(WARM)
    WARM.mkdir(parents=True, exist_ok=True)
    command = shlex.split(pytest(sorted((Path("tests") / folder).glob("test_*.py"))))
    seconds = 0.0
    for _ in range(2):  # the first compiles
        start = time.monotonic()
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise SystemExit(
                f"got failing tests in tests/{folder}, expected unchanged code to pass; mend it first"
            )
        seconds = time.monotonic() - start
    return 30 + 3 * seconds


def outcome(result: WorkResult) -> str:
    """One word for what became of a mutant."""
    return "SURVIVED" if not result.is_killed else "timeout" if result.output == "timeout" else "killed"


def report(kept: WorkDB) -> dict[str, Any]:
    """Prints survivors and a table by module; returns the figures."""
    by_module: dict[str, list[WorkResult]] = defaultdict(list)
    for item, result in kept.completed_work_items:
        by_module[item.mutations[0].module_path.as_posix()].append(result)
    for results in by_module.values():
        for result in results:
            if not result.is_killed:
                print("\n".join((result.diff or "").splitlines()[1:]), end="\n\n")
    rows = {
        module: {
            word: sum(outcome(result) == word for result in results)
            for word in ("killed", "timeout", "SURVIVED")
        }
        for module, results in sorted(by_module.items())
    }
    width = max(map(len, rows))
    print(f"{'module':{width}}  killed  by time  survived")
    for module, row in rows.items():
        print(f"{module:{width}}  {row['killed']:6}  {row['timeout']:7}  {row['SURVIVED']:8}")
    survived = sum(row["SURVIVED"] for row in rows.values())
    total = sum(map(len, by_module.values()))
    share = wilson(total - survived, total)
    print(
        f"killed {total - survived} of {total}: {share.value:.1%}, 95% interval {share.low:.1%} to {share.high:.1%}"
    )
    return {"mutants": total, "survived": survived, **share.as_json(), "modules": rows}


if __name__ == "__main__":
    main()
