"""Documents are found by their number over all shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from millrace.data.documents import catalogue


def test_documents_are_found_by_number(tmp_path: Path) -> None:
    """Joined over shards, ids and addresses of any script come back, and offsets go on where the last shard ended."""
    import pyarrow as pa

    shards = [(["1", "2"], ["a", "bé"]), ([], []), (["3"], [""])]
    parts = [tmp_path / f"names-{index}" for index in range(3)]
    for part, (ids, uris) in zip(parts, shards, strict=True):
        catalogue.write_names(part, pa.array(ids, pa.string()), pa.array(uris, pa.string()))
    assert catalogue.join_names(parts, tmp_path / "names").tolist() == [0, 2, 2, 3]
    found = catalogue.names(tmp_path / "names", np.array([2, 1, 1]))
    assert found == [("3", ""), ("2", "bé"), ("2", "bé")]
    for index, offsets in enumerate(([0, 3, 5], [0], [0, 2])):
        catalogue.write_offsets(parts[index], np.array(offsets))
    assert catalogue.join_offsets(parts, tmp_path / "units").tolist() == [0, 5, 5, 7]
    assert catalogue.offsets(tmp_path / "units").tolist() == [0, 3, 5, 7]
