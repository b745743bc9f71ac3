"""Copies of the training state in memory that outlives the training process, to resume after a crash.

Checkpoints on disk are slow and therefore rare; a copy in memory can be made every few steps, and a restart
loses only those. Each host keeps the shards of its own devices in two files in memory that belong to its supervisor.
One is written while the other stays complete. A header with the checksums is written last, so a kill at any instant
leaves a complete one.

Where hosts hold different parts of the state, each keeps its neighbour's, too: host h sends its part to host h + 1 (a
ring) through the devices' network, so the state survives the loss of one host's memory, or of several that are not
neighbours. Where all hosts hold the same, as in pure data parallelism, each host already is a copy of every other.

A restart takes the newest step for which all parts exist with a correct checksum; hosts differ by one copy at most,
because a step needs all of them. Memory is bounded: two files of the parts that a host keeps, reserved before training.

References:
    Gemini Team 2023, arXiv 2312.11805, section 3 (redundant in-memory copies of the model state).
    Wang et al. 2023, GEMINI: Fast Failure Recovery in Distributed Training with In-Memory Checkpoints, SOSP.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import mmap
import os
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from millrace.model.devices import hosts

from .store import Moment

HEADER_BYTES = 4096
CHUNK_BYTES = 64 << 20  # of what goes through a device at once
CGROUP = Path("/sys/fs/cgroup")

Box = tuple[tuple[int, int], ...]
"""A rectangular piece of an array: start and end along each axis."""


class NoRoom(Exception):
    """Memory does not hold the copies."""


class Replicas:
    """The copies that one host keeps: a ``Store``.

    Args:
        memory: Descriptors of two files, empty or as an earlier process of the same training left them.
        every_steps: Steps between two copies.
        log: Takes one line for each damaged copy; this module's logger by default.
    """

    loses = "copying to memory"
    same_bytes = False

    def __init__(
        self, memory: Sequence[int], every_steps: int, log: Callable[[str], None] | None = None
    ) -> None:
        if len(memory) != 2 or every_steps < 1:
            raise ValueError(
                f"got {len(memory)} files and a copy every {every_steps} steps, expected two and at least 1"
            )
        self._every_steps = every_steps
        self._memory = tuple(memory)
        self._log = log or logging.getLogger(__name__).warning
        self._layout: _Layout | None = None
        self._files: list[_File] = []
        self._newest = 0
        # [hosts, files, 2] int32: steps of a host's own part and of its neighbour's, -1 for none.
        self._held = np.full((1, 2, 2), -1, np.int32)

    def lay_out(self, template: Any) -> None:
        """Reserves memory for states like this one; has to come first, and on all hosts.

        Args:
            template: A pytree of JAX's arrays, or descriptions of some, as they are spread, and of NumPy arrays, the same
                on all hosts.

        Raises:
            NoRoom: There is too little.
        """
        if self._layout is None:
            self._layout = _Layout.of(template)
            parts = 2 if self._layout.ring else 1
            size = HEADER_BYTES + parts * self._layout.part_bytes
            missing = sum(max(size - os.fstat(handle).st_size, 0) for handle in self._memory)
            _check_room(missing)
            self._files = [_File(handle, size, self._layout) for handle in self._memory]

    def due(self, moment: Moment) -> bool:
        """At multiples, but not where a checkpoint ends the training."""
        inside = moment.start < moment.done < moment.end
        return inside and not moment.stopping and moment.done % self._every_steps == 0

    def wait(self) -> None:
        """Saving has waited."""

    def save(self, step: int, state: Any) -> None:
        """Keeps the state after ``step`` steps; a collective on several hosts."""
        layout = self._laid_out()
        target = 1 - self._newest
        file = self._files[target]
        file.begin()
        part = file.part(0)
        pieces = [
            (_piece(leaf, box), begin, end)
            for leaf, place in zip(jax.tree.leaves(state), layout.places, strict=True)
            for box, begin, end in place
        ]
        for piece, _, _ in pieces:
            if isinstance(piece, jax.Array):
                piece.copy_to_host_async()
        for piece, begin, end in pieces:
            part[begin:end] = np.ascontiguousarray(piece).reshape(-1).view(np.uint8)
        if layout.ring:
            self._send(part, file.part(1))
        file.commit(step)
        self._newest = target

    def newest(self) -> int | None:
        """The newest step that all parts of the state exist of, or None; a collective on several hosts."""
        held = []
        for file in self._files:
            steps, wrong = file.check()
            if wrong:
                self._log(f"a copy in memory is damaged: {wrong}")
            held.append(steps)
        self._held = hosts.every(np.asarray(held, np.int32))
        found = {step for step in self._held.ravel().tolist() if step >= 0 and self._sources(step)}
        return max(found, default=None)

    def restore(self, step: int, template: Any) -> Any:
        """The state of a step that ``newest`` gave; a collective on several hosts.

        Args:
            step: The step.
            template: A pytree as it was given to ``lay_out``.
        """
        layout, sources, me = self._laid_out(), self._sources(step), jax.process_index()
        assert sources is not None
        mine = np.zeros(layout.part_bytes, np.uint8)
        if (index := self._index(step, 0)) is not None:
            self._newest = index
            mine[:] = self._files[index].part(0)
        for host, (source, which) in enumerate(sources):
            if source == host:
                continue
            given = np.zeros(layout.part_bytes, np.uint8)
            if source == me and (index := self._index(step, which)) is not None:
                given[:] = self._files[index].part(which)
            got = _broadcast(given, source)
            if host == me:
                self._log(f"this host's copy of step {step} is lost: taken from host {source}")
                mine = got
        leaves, structure = jax.tree.flatten(template)
        made = [_array(leaf, place, mine) for leaf, place in zip(leaves, layout.places, strict=True)]
        return jax.tree.unflatten(structure, made)

    def _laid_out(self) -> _Layout:
        assert self._layout is not None
        return self._layout

    def _index(self, step: int, which: int) -> int | None:
        """In which file this host has a part of a step."""
        held = self._held[jax.process_index(), :, which].tolist()
        return held.index(step) if step in held else None

    def _sources(self, step: int) -> list[tuple[int, int]] | None:
        """For every host, from which host and part its part comes; None when one is lost."""
        own, neighbours = (self._held == step).any(axis=1).T
        found: list[tuple[int, int]] = []
        for host in range(len(own)):
            after = (host + 1) % len(own)
            if own[host]:
                found.append((host, 0))
            elif self._laid_out().ring and neighbours[after]:
                found.append((after, 1))
            elif not self._laid_out().ring and own.any():
                found.append((int(own.argmax()), 0))
            else:
                return None
        return found

    def _send(self, part: np.ndarray, neighbours: np.ndarray) -> None:
        """Gives this host's part to the next host, and takes that of the one before."""
        first = {device.process_index: device for device in reversed(jax.devices())}
        mesh = Mesh(np.asarray([first[host] for host in sorted(first)]), ("host",))
        spread = NamedSharding(mesh, PartitionSpec("host"))
        size = min(CHUNK_BYTES, len(part))
        for begin in range(0, len(part), size):
            chunk = np.zeros((1, size), np.uint8)
            chunk[0, : len(part) - begin] = part[begin : begin + size]
            sent = jax.make_array_from_process_local_data(spread, chunk, (len(first), size))
            got = jax.jit(_to_next, out_shardings=spread)(sent)
            neighbours[begin : begin + size] = np.asarray(got.addressable_data(0))[0, : len(part) - begin]


def _to_next(rows: jax.Array) -> jax.Array:
    return jnp.roll(rows, 1, axis=0)


@dataclass(frozen=True)
class _Layout:
    """Where a host's part of the state lies in its memory.

    Attributes:
        places: For each leaf, its boxes on this host's devices with their first and end byte.
        part_bytes: Size of the largest host's part.
        ring: Whether hosts hold different parts.
        digest: Of shapes, types and boxes of all hosts.
    """

    places: tuple[tuple[tuple[Box, int, int], ...], ...]
    part_bytes: int
    ring: bool
    digest: str

    @classmethod
    def of(cls, state: Any) -> _Layout:
        leaves = jax.tree.leaves(state)
        boxes = [[_boxes(leaf, host) for leaf in leaves] for host in range(jax.process_count())]
        sizes = []
        places: list[tuple[tuple[Box, int, int], ...]] = []
        for host, own in enumerate(boxes):
            end = 0
            for leaf, parts in zip(leaves, own, strict=True):
                placed = []
                for box in parts:
                    begin = end
                    end += math.prod(high - low for low, high in box) * leaf.dtype.itemsize
                    placed.append((box, begin, end))
                if host == jax.process_index():
                    places.append(tuple(placed))
            sizes.append(end)
        told = [[str(leaf.dtype), leaf.shape] for leaf in leaves]
        digest = hashlib.sha256(json.dumps([told, boxes]).encode()).hexdigest()
        return cls(tuple(places), max(sizes), any(own != boxes[0] for own in boxes), digest)


class _File:
    """One file in memory: a header, this host's part, and its neighbour's in a ring."""

    def __init__(self, handle: int, size: int, layout: _Layout) -> None:
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            raise NoRoom(f"{size / 2**20:,.0f} MiB cannot be reserved: {error.strerror}") from error
        self._map = mmap.mmap(handle, size)
        self._all = np.frombuffer(self._map, np.uint8)
        self._layout = layout

    def part(self, which: int) -> np.ndarray:
        """The bytes of this host's part (0) or of its neighbour's (1)."""
        begin = HEADER_BYTES + which * self._layout.part_bytes
        return self._all[begin : begin + self._layout.part_bytes]

    def begin(self) -> None:
        """From now on until ``commit`` the file holds nothing."""
        self._all[:HEADER_BYTES] = 0

    def commit(self, step: int) -> None:
        """The parts are written."""
        sums = [zlib.crc32(self.part(which).data) for which in self._parts()]
        body = json.dumps({"step": step, "layout": self._layout.digest, "crc32": sums}).encode()
        header = b"%08x%s" % (zlib.crc32(body), body)
        self._all[: len(header)] = np.frombuffer(header, np.uint8)

    def check(self) -> tuple[tuple[int, int], str]:
        """The steps of the two parts, -1 for an incomplete one, and the faults found."""
        header = self._all[:HEADER_BYTES].tobytes().rstrip(b"\0")
        if not header or header[:8] != b"%08x" % zlib.crc32(header[8:]):
            return (-1, -1), "its header does not fit its checksum" if header else ""
        told = json.loads(header[8:])
        if told["layout"] != self._layout.digest:
            return (-1, -1), "it is of another state"
        steps, wrong = [-1, -1], []
        for which, expected in zip(self._parts(), told["crc32"], strict=True):
            if zlib.crc32(self.part(which).data) == expected:
                steps[which] = told["step"]
            else:
                wrong.append(f"part {which} of step {told['step']} does not fit its checksum")
        return (steps[0], steps[1]), ", ".join(wrong)

    def _parts(self) -> range:
        return range(2 if self._layout.ring else 1)


def _boxes(leaf: Any, host: int) -> list[Box]:
    """The distinct pieces of an array that a host's devices hold, in order."""
    if isinstance(leaf, np.ndarray):
        return [tuple((0, size) for size in leaf.shape)]
    indices: Mapping[Any, tuple[slice, ...]] = leaf.sharding.devices_indices_map(leaf.shape)
    return sorted(
        {_box(index, leaf.shape) for device, index in indices.items() if device.process_index == host}
    )


def _box(index: tuple[slice, ...], shape: tuple[int, ...]) -> Box:
    bounds = [part.indices(size)[:2] for part, size in zip(index, shape, strict=True)]
    return tuple(bounds)


def _piece(leaf: Any, box: Box) -> Any:
    """A piece of an array that a device of this host holds."""
    if not isinstance(leaf, jax.Array):
        return leaf
    return next(shard.data for shard in leaf.addressable_shards if _box(shard.index, leaf.shape) == box)


def _array(leaf: Any, place: tuple[tuple[Box, int, int], ...], part: np.ndarray) -> Any:
    """An array like a leaf, from the bytes of this host's part."""

    def piece(index: tuple[slice, ...] | None) -> np.ndarray:
        wanted = place[0][0] if index is None else _box(index, leaf.shape)
        box, begin, end = next(entry for entry in place if entry[0] == wanted)
        values = part[begin:end].copy().view(leaf.dtype)
        return values.reshape([high - low for low, high in box])

    if isinstance(leaf, np.ndarray):
        return piece(None)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, piece)


def _broadcast(part: np.ndarray, source: int) -> np.ndarray:
    """One host's bytes on all hosts."""
    got = np.empty_like(part)
    for begin in range(0, len(part), CHUNK_BYTES):
        chunk = part[begin : begin + CHUNK_BYTES]
        got[begin : begin + CHUNK_BYTES] = multihost_utils.broadcast_one_to_all(
            chunk, is_source=jax.process_index() == source
        )
    return got


def _check_room(needed_bytes: int) -> None:
    """Raises ``NoRoom`` unless memory holds what this host and the others of this machine need."""
    name = np.asarray(zlib.crc32(socket.gethostname().encode()) % 2**31, np.int32)
    together = int((hosts.every(name) == name).sum())
    free_bytes = _free_bytes()
    if needed_bytes * together > free_bytes:
        raise NoRoom(
            f"copies in memory need {needed_bytes / 2**20:,.0f} MiB for each of {together} hosts of this machine, and "
            f"{free_bytes / 2**20:,.0f} MiB are free; set replica_every_steps to 0, or give the stage more memory"
        )


def _free_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return free
