"""Hugging Face datasets: a repository on the Hub at one commit, a folder that ``save_to_disk`` made, a local cache.

A dataset here is files (Parquet, JSON Lines, CSV, Arrow), so this module only finds out which ones belong to a
configuration and a split; ``files`` reads them, in ranges and by all workers, from ``hf://`` as from a disk. The library
``datasets`` is therefore not needed: it would bring pandas and a fork of multiprocessing, download everything before the
first record, and rewrite it to Arrow. Local folders need nothing at all; the Hub needs ``huggingface_hub``, which takes
the address from HF_ENDPOINT and the token from HF_TOKEN or its login, neither of which reaches a spec or an artifact.

A revision is resolved to a commit, which fixes every byte and is part of the documents' addresses.

References:
    Hugging Face, Hub documentation, "Structure your repository" and "Manual configuration" (which files make which
    split); Datasets documentation, "Save" (``state.json`` and ``dataset_dict.json``).
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.data.sources.formats.registry import ARCHIVES, format_of_name, split_name

from .files import File, Part, list_files, plan_files
from .files import read as read_files
from .records import Item, Options, SourceError

MISSING = "got a dataset on the Hub, but huggingface_hub is not installed; expected it: pip install 'millrace[huggingface]'"
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
SPLIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words in files' and folders' names that tell a split."""
SHARD = re.compile(r"(?:^|/)data/([\w.]+)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?\.[\w.]+$")
"""Shards of a split that may have any name."""


@dataclass(frozen=True)
class Dataset:
    """A dataset, and the part of it to read.

    Attributes:
        path: ``owner/name`` on the Hub, or a local folder.
        name: The configuration; None: the only or default one.
        split: The split.
        revision: Branch, tag or commit on the Hub.
        data_files: Patterns of files in the repository, in place of what its names and its card tell; empty: these.
    """

    path: str
    name: str | None = None
    split: str = "train"
    revision: str = "main"
    data_files: tuple[str, ...] = ()


def fingerprint(dataset: Dataset) -> list[Any]:
    """The fingerprint that shows changes of the dataset: the commit on the Hub; names, sizes and times of local files.

    Raises:
        SourceError: There is no such dataset or split.
    """
    if os.path.isdir(dataset.path):
        return [[file.uri, file.size_bytes, file.version] for file in _local_files(dataset)]
    return [dataset.path, _commit(dataset)]


def plan(dataset: Dataset, options: Options) -> list[Part]:
    """Cuts the dataset's files into parts.

    Raises:
        SourceError: There is no such dataset, configuration or split, or its files have no readable format.
    """
    return plan_files(_local_files(dataset) if os.path.isdir(dataset.path) else _hub_files(dataset), options)


def read(part: Part) -> Iterator[Item]:
    """Streams the documents of one part.

    Raises:
        SourceError: The Hub cannot be reached.
    """
    if not part.files[0].uri.startswith("hf://"):
        yield from read_files(part)
        return
    errors = _hub().errors.HTTPError
    try:
        yield from read_files(part)
    except errors as error:
        raise SourceError(
            f"got {error} while reading {part.files[0].uri}, expected the Hub: run again"
        ) from None


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise SourceError(MISSING) from None
    return huggingface_hub


def _commit(dataset: Dataset) -> str:
    """The commit that the revision names now; asks the Hub unless it is one."""
    if not REPOSITORY.fullmatch(dataset.path):
        raise SourceError(
            f"got dataset path {dataset.path!r}, expected owner/name on the Hub or a local folder: check the path, which "
            "counts from the spec's folder"
        )
    if COMMIT.fullmatch(dataset.revision):
        return dataset.revision
    hub = _hub()
    try:
        return str(hub.HfApi().dataset_info(dataset.path, revision=dataset.revision).sha)
    except (hub.errors.HTTPError, OSError) as error:
        raise SourceError(
            f"got no answer about dataset {dataset.path} at revision {dataset.revision}, expected one that HF_TOKEN may "
            f"read: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _hub_files(dataset: Dataset) -> list[File]:
    """The files of the split on the Hub."""
    commit, hub = _commit(dataset), _hub()
    root = f"datasets/{dataset.path}@{commit}"
    system = hub.HfFileSystem()
    try:
        infos = {path[len(root) + 1 :]: info for path, info in system.find(root, detail=True).items()}
        card = system.cat_file(f"{root}/README.md") if "README.md" in infos else b""
    except (hub.errors.HTTPError, OSError) as error:
        raise SourceError(
            f"got no list of the files of dataset {dataset.path} at {commit[:12]}, expected one that HF_TOKEN may read: "
            f"{_first_line(error)}"
        ) from None
    chosen = files_of_split(sorted(infos), card.decode("utf-8", "replace"), dataset)
    return [File(f"hf://{root}/{path}", int(infos[path]["size"]), commit) for path in chosen]


def _local_files(dataset: Dataset) -> list[File]:
    """The files of the split in a local folder."""
    folder = dataset.path
    if not dataset.data_files:
        splits = _read_json(os.path.join(folder, "dataset_dict.json")).get("splits")
        if splits:
            if dataset.split not in splits:
                raise SourceError(
                    f"got split {dataset.split!r}, expected one of {', '.join(splits)} in {folder}"
                )
            folder = os.path.join(folder, dataset.split)
        if state := _read_json(os.path.join(folder, "state.json")):
            return _saved_files(folder, state)
        if (cached := _cached(dataset)) is not None:
            return _listed(cached, _cached_files(cached, dataset.split))
    paths = [
        os.path.relpath(path, folder).replace(os.sep, "/")
        for path in glob.glob(os.path.join(glob.escape(folder), "**", "*"), recursive=True)
        if os.path.isfile(path)
    ]
    card = ""
    if "README.md" in paths:
        with open(os.path.join(folder, "README.md"), encoding="utf-8", errors="replace") as opened:
            card = opened.read()
    return _listed(folder, files_of_split(sorted(paths), card, dataset))


def _saved_files(folder: str, state: Mapping[str, Any]) -> list[File]:
    """The files of a folder that ``Dataset.save_to_disk`` made, in its order."""
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise SourceError(
            f"got {folder} with a selection of rows beside its data, expected data alone: load_from_disk, flatten_indices "
            "and save_to_disk"
        )
    names = [entry["filename"] for entry in state.get("_data_files") or ()]
    if any(os.path.basename(name) != name for name in names):
        raise SourceError(
            f"got files outside of {folder} in its state.json, expected names: save_to_disk anew"
        )
    return _listed(folder, names)


def _cached(dataset: Dataset) -> str | None:
    """The folder of a cache ``owner___name/configuration/version/hash`` in which the Arrow files are, or None."""
    pattern = os.path.join(glob.escape(dataset.path), "**", "dataset_info.json")
    found = sorted(os.path.dirname(path) for path in glob.glob(pattern, recursive=True))
    found = [folder for folder in found if glob.glob(os.path.join(glob.escape(folder), "*.arrow"))]
    if dataset.name is not None and len(found) > 1:
        found = [
            folder
            for folder in found
            if os.path.relpath(folder, dataset.path).split(os.sep)[0] == dataset.name
        ]
    if len(found) > 1:
        raise SourceError(
            f"got {len(found)} datasets in the cache {dataset.path}, expected one: set path to one of {', '.join(found)}"
        )
    return found[0] if found else None


def _cached_files(folder: str, split: str) -> list[str]:
    """The Arrow files of a split in a folder of the cache; what ``map`` and ``filter`` left there is not its."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".arrow"))
    pattern = re.compile(rf".+-{re.escape(split)}(-\d{{5}}-of-\d{{5}})?\.arrow")
    found = [name for name in names if pattern.fullmatch(name)]
    if not found:
        raise SourceError(
            f"got split {split!r} of the cache {folder}, expected one that has a file: {', '.join(names)}"
        )
    return found


def _listed(folder: str, names: Sequence[str]) -> list[File]:
    found = []
    for name in names:
        path = os.path.join(folder, name)
        files = list_files([glob.escape(path)])
        if not files:
            raise SourceError(f"got no file {path}, expected it: the dataset is not whole")
        found += files
    if not found:
        raise SourceError(f"got no data files in {folder}, expected at least one")
    return found


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as opened:
            value = json.load(opened)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise SourceError(
            f"got {path} that is no JSON ({error}), expected what save_to_disk writes"
        ) from None
    return value if isinstance(value, dict) else {}


def files_of_split(paths: Sequence[str], card: str, dataset: Dataset) -> list[str]:
    """The files of a repository that make a split, sorted.

    Args:
        paths: All files, from the root of the repository.
        card: The text of README.md, whose front matter may say which files make which split.
        dataset: The configuration, split, and patterns that decide alone if there are any.

    Raises:
        SourceError: No file does, or several configurations could be meant.
    """
    if dataset.data_files:
        return _matching(paths, dataset.data_files, dataset)
    configs = _configs(card)
    if configs:
        return _matching(paths, _patterns_of(configs, dataset), dataset)
    data = [path for path in paths if _is_data(path)]
    if dataset.name is not None:
        data = [path for path in data if dataset.name in path.split("/")[:-1]]
        if not data:
            folders = sorted({path.split("/")[0] for path in paths if "/" in path})
            raise SourceError(
                f"got configuration {dataset.name!r} of dataset {dataset.path}, expected a folder of that name, among "
                f"{', '.join(folders) or 'none'}: leave name out, or set data_files"
            )
    splits: dict[str, list[str]] = {}
    for path in data:
        splits.setdefault(_split_of(path) or "", []).append(path)
    if set(splits) == {""}:
        splits = {"train": splits[""]}
    if dataset.split not in splits:
        known = ", ".join(sorted(filter(None, splits))) or "none"
        hint = "set split or data_files"
        if not data:
            hint = "set data_files, or revision: refs/convert/parquet for a dataset that a script makes"
        raise SourceError(
            f"got split {dataset.split!r} of dataset {dataset.path}, expected one of its splits ({known}): {hint}"
        )
    return splits[dataset.split]


def _is_about(path: str) -> bool:
    """Whether a file is a card or a hidden one, as ``**`` finds them beside the data."""
    return path.startswith(".") or "/." in path or path.rsplit("/", 1)[-1].lower() == "readme.md"


def _is_data(path: str) -> bool:
    """Whether a file's name says that it has rows; texts beside the data are about it."""
    name = split_name(path)[0]
    if _is_about(path) or name.rsplit("/", 1)[-1] in ("dataset_info.json", "dataset_infos.json"):
        return False
    kind = format_of_name(name)
    return kind is not None and kind != "text" and kind not in ARCHIVES.values()


def _split_of(path: str) -> str | None:
    """The split that a file's name tells, else a folder's, or None."""
    if match := SHARD.search(path):
        return next((split for split, known in SPLIT_WORDS.items() if match[1] in known), match[1])
    for part in reversed(path.lower().split("/")):
        words = re.split(r"[^a-z]+", part)
        for split, known in SPLIT_WORDS.items():
            if set(words) & set(known):
                return split
    return None


def _configs(card: str) -> list[Mapping[str, Any]]:
    """The configurations that the front matter of a card has, with data files."""
    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card.lstrip("\ufeff"), re.DOTALL)
    if match is None:
        return []
    import yaml

    try:
        values = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return []
    configs = values.get("configs") if isinstance(values, dict) else None
    return [
        config
        for config in (configs if isinstance(configs, list) else [])
        if isinstance(config, dict) and (config.get("data_files") or config.get("data_dir"))
    ]


def _patterns_of(configs: Sequence[Mapping[str, Any]], dataset: Dataset) -> list[str]:
    """The patterns of a split in a card's configurations."""
    named = {str(config.get("config_name", "default")): config for config in configs}
    defaults = [name for name, config in named.items() if config.get("default")]
    name = dataset.name
    if name is None:
        name = defaults[0] if defaults else "default" if "default" in named else next(iter(named))
        if not defaults and "default" not in named and len(named) > 1:
            raise SourceError(
                f"got no name for dataset {dataset.path}, expected one of its configurations: {', '.join(sorted(named))}"
            )
    if name not in named:
        raise SourceError(
            f"got configuration {name!r} of dataset {dataset.path}, expected one of {', '.join(sorted(named))}"
        )
    config = named[name]
    folder = str(config.get("data_dir") or "").strip("./")
    given = config.get("data_files") or "**"
    entries = given if isinstance(given, list) else [given]
    splits: dict[str, list[str]] = {}
    for entry in entries:
        split, paths = (
            (str(entry.get("split", "train")), entry.get("path", ()))
            if isinstance(entry, dict)
            else ("train", entry)
        )
        for path in [paths] if isinstance(paths, str) else paths:
            splits.setdefault(split, []).append(f"{folder}/{path}" if folder else str(path))
    if dataset.split not in splits:
        raise SourceError(
            f"got split {dataset.split!r} of dataset {dataset.path}, expected one of its splits: {', '.join(sorted(splits))}"
        )
    return splits[dataset.split]


def _matching(paths: Sequence[str], patterns: Sequence[str], dataset: Dataset) -> list[str]:
    """The files that any pattern matches; each must match one."""
    from fsspec.utils import glob_translate

    found: set[str] = set()
    for pattern in patterns:
        compiled = re.compile(glob_translate(pattern.removeprefix("./")))
        own = [path for path in paths if compiled.match(path) and not _is_about(path)]
        if not own:
            shown = ", ".join(paths[:10]) + (", and more" if len(paths) > 10 else "")
            raise SourceError(
                f"got pattern {pattern!r} that matches no file of dataset {dataset.path}, expected at least one of: {shown}"
            )
        found |= set(own)
    return sorted(found)
