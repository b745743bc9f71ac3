"""Shared and distant memory inside kernels: atomic words and prefetching.

An entry of a table is a record whose first four bytes are its state. A thread that reads a state sees all writes made
before the state was set, so a table that only grows needs no lock.

Kernels have these functions compiled into them; ``kernels.py`` sees to it that a change here compiles them anew.

References:
    LLVM language reference: atomic orderings, ``cmpxchg``, ``atomicrmw``, ``llvm.prefetch``.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_STATE = ir.IntType(32)


def _state(context: Any, builder: Any, kind: Any, entries: Any, slot: Any) -> Any:
    data = context.make_array(kind)(context, builder, entries).data
    return builder.bitcast(builder.gep(data, [slot]), _STATE.as_pointer())


@intrinsic
def state_of(typing_context: Any, entries: Any, slot: Any) -> Any:
    """An entry's first four bytes; writes made before them by any thread are visible afterwards."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at = arguments
        pointer = _state(context, builder, signature.args[0], array, at)
        return builder.load_atomic(pointer, "acquire", 4)

    return types.uint32(entries, types.intp), generate


@intrinsic
def show(typing_context: Any, entries: Any, slot: Any, state: Any) -> Any:
    """Sets an entry's first four bytes; a thread that reads them sees all earlier writes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, state = arguments
        pointer = _state(context, builder, signature.args[0], array, at)
        builder.store_atomic(state, pointer, "release", 4)
        return context.get_dummy_value()

    return types.void(entries, types.intp, types.uint32), generate


@intrinsic
def exchange_state(typing_context: Any, entries: Any, slot: Any, old: Any, new: Any) -> Any:
    """Whether an entry's first four bytes were ``old``; then they are ``new`` now, and earlier writes are visible."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, old, new = arguments
        pointer = _state(context, builder, signature.args[0], array, at)
        return builder.extract_value(builder.cmpxchg(pointer, old, new, "acq_rel", "acquire"), 1)

    return types.boolean(entries, types.intp, types.uint32, types.uint32), generate


@intrinsic
def reserve(typing_context: Any, counts: Any, at: Any, more: Any) -> Any:
    """Adds to a count of an int64 array that threads share; returns the old value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, added = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.atomic_rmw("add", builder.gep(data, [index]), added, "monotonic")

    return types.int64(counts, types.intp, types.int64), generate


@intrinsic
def fetch(typing_context: Any, data: Any, at: Any) -> Any:
    """Asks for the line of the cache that ``data[at]`` is in, and does not wait for it.

    Args:
        data: An array of numbers or records, in C order.
        at: A place in it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place = arguments
        number = ir.IntType(32)
        start = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [place])
        start = builder.bitcast(start, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [start.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [start.type], kind)
        how = (ir.Constant(number, value) for value in (0, 3, 1))  # to be read, to be kept, data
        builder.call(prefetch, [start, *how])
        return context.get_dummy_value()

    return types.void(data, types.intp), generate
