"""Vector operations inside kernels: comparisons of 64 bytes, loads of eight, copies, bit masks, hashes.

Numba compiles a loop over bytes that stops at one of a kind to one byte at a time, with a mispredicted branch wherever
it stops. These functions become vector instructions of whatever processor compiles them: a few compare 64 bytes, and
bits of the result mark where words begin and end.

The caller ensures that all reads lie within the array; there is no check.

Kernels have these functions compiled into them; ``kernels.py`` sees to it that a change here compiles them anew.

References:
    Langdale & Lemire 2019, "Parsing Gigabytes of JSON per Second", arXiv 1902.08318, section 3.1, for questions about
    64 bytes whose answers are the bits of a number. Wang Yi, wyhash, https://github.com/wangyi-fudan/wyhash, for
    hashing sixteen bytes by one folded product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_jitable

from .hashing import FNV_OFFSET, GOLDEN

WIDTH = 64  # bytes that ``bytes_between`` looks at
# The numbers of a word's bytes in its first eight, and in its second.
_LOW = np.array([(1 << 8 * min(size, 8)) - 1 for size in range(17)], np.uint64)
_HIGH = np.array([(1 << 8 * max(size - 8, 0)) - 1 for size in range(17)], np.uint64)

_BYTE, _LONG, _DOUBLE, _VECTOR = (
    ir.IntType(8),
    ir.IntType(64),
    ir.IntType(128),
    ir.VectorType(ir.IntType(8), WIDTH),
)


def _check(data: Any) -> None:
    if not isinstance(data, types.Array) or data.ndim != 1 or data.dtype != types.uint8 or data.layout != "C":
        raise TypingError(f"got {data}, expected a contiguous array of uint8; np.ascontiguousarray makes one")


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any, pointed: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), pointed.as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    """A vector with one value in all places."""
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), places)


def _between(context: Any, builder: Any, signature: Any, arguments: Any, raised: int) -> Any:
    """Compares 64 bytes, some of their bits set before, with two bounds."""
    array, start, least, most = arguments
    loaded = builder.load(_pointer(context, builder, signature.args[0], array, start, _VECTOR), align=1)
    loaded = builder.or_(loaded, ir.Constant(_VECTOR, [raised] * WIDTH))
    first = builder.trunc(least, _BYTE)
    span = builder.sub(builder.trunc(most, _BYTE), first)
    inside = builder.icmp_unsigned("<=", builder.sub(loaded, _spread(builder, first)), _spread(builder, span))
    return builder.bitcast(inside, _LONG)


@intrinsic
def bytes_between(typing_context: Any, data: Any, at: Any, low: Any, high: Any) -> Any:
    """Whether each byte of ``data[at : at + 64]`` is at least ``low`` and at most ``high``: bit i of a uint64.

    Args:
        data: uint8 array, contiguous.
        at: Where the 64 bytes start.
        low: Smallest byte, a constant.
        high: Largest byte, a constant.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _between(context, builder, signature, arguments, 0)

    _check(data)
    return types.uint64(data, types.intp, types.intp, types.intp), generate


@intrinsic
def lowered_between(typing_context: Any, data: Any, at: Any, low: Any, high: Any) -> Any:
    """``bytes_between`` of bytes with bit 32 set first, which turns ASCII's capitals into small letters."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _between(context, builder, signature, arguments, 32)

    _check(data)
    return types.uint64(data, types.intp, types.intp, types.intp), generate


@intrinsic
def eight_bytes(typing_context: Any, data: Any, at: Any) -> Any:
    """``data[at : at + 8]`` as one uint64, the first byte lowest on little-endian machines."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start = arguments
        return builder.load(_pointer(context, builder, signature.args[0], array, start, _LONG), align=1)

    _check(data)
    return types.uint64(data, types.intp), generate


@intrinsic
def copy_bytes(typing_context: Any, target: Any, to: Any, source: Any, at: Any, count: Any) -> Any:
    """Copies ``source[at : at + count]`` to ``target[to : to + count]``, four times as fast as Numba's slices.

    Args:
        target: uint8 array, contiguous, another than ``source``.
        to: Where the copy starts.
        source: uint8 array, contiguous.
        at: Where the bytes start.
        count: How many they are.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        own, to, other, at, count = arguments
        written = _pointer(context, builder, signature.args[0], own, to, _BYTE)
        read = _pointer(context, builder, signature.args[2], other, at, _BYTE)
        cgutils.raw_memcpy(builder, written, read, count, 1)
        return context.get_dummy_value()

    _check(target)
    _check(source)
    return types.none(target, types.intp, source, types.intp, types.intp), generate


@intrinsic
def first_bit(typing_context: Any, mask: Any) -> Any:
    """The place of the lowest set bit of a uint64; 64 if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.intp(types.uint64), generate


@register_jitable
def write_places(bits: Any, out: Any, first: Any, shift: Any) -> None:
    """Writes the places of a uint64's set bits, plus ``shift``, to ``out`` from index ``first`` on.

    Common blocks of text have ten or so; sixteen are written without a branch, so ``out`` has room for as many more.
    """
    at = np.uint64(first)
    for other in range(16):
        out[at + np.uint64(other)] = shift + first_bit(bits)
        bits &= bits - np.uint64(1)
    at += np.uint64(16)
    while bits:
        out[at] = shift + first_bit(bits)
        bits &= bits - np.uint64(1)
        at += np.uint64(1)


@intrinsic
def count_bits(typing_context: Any, mask: Any) -> Any:
    """How many bits of a uint64 are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.intp(types.uint64), generate


@intrinsic
def folded_product(typing_context: Any, one: Any, other: Any) -> Any:
    """The 128 bits of the product of two uint64, the upper half XORed onto the lower."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.mul(*(builder.zext(factor, _DOUBLE) for factor in arguments))
        upper = builder.trunc(builder.lshr(product, ir.Constant(_DOUBLE, 64)), _LONG)
        return builder.xor(builder.trunc(product, _LONG), upper)

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def settled(typing_context: Any, mask: Any) -> Any:
    """The uint64 itself, in one register.

    LLVM otherwise joins masks while they are vectors of single bits, even where branches lie between, and then takes
    64 registers to bring them across.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.InlineAsm(ir.FunctionType(_LONG, [_LONG]), "", "=r,0")
        return builder.call(nothing, arguments)

    return types.uint64(types.uint64), generate


@register_jitable(forceinline=True)
def hash_bytes(data: Any, start: Any, length: Any, raised: Any) -> Any:
    """The hash of a word, certain bits of its bytes set first.

    Args:
        data: uint8 array, contiguous, with 16 bytes or more behind the word.
        start: Where the word starts.
        length: Its bytes, uint64.
        raised: The bits that are set in each eight bytes, uint64.
    """
    if length <= np.uint64(16):
        low = (eight_bytes(data, start) | raised) & _LOW[length]
        high = (eight_bytes(data, start + 8) | raised) & _HIGH[length]
        return folded_product(low ^ FNV_OFFSET, high ^ length * GOLDEN)
    return _long_hash(data, start, length, raised)


@register_jitable
def _long_hash(data: Any, start: Any, length: Any, raised: Any) -> Any:
    value, end = np.uint64(0), start + np.int64(length)
    for at in range(start, end, 16):
        size = min(16, end - at)
        value = folded_product(
            value ^ (eight_bytes(data, at) | raised) & _LOW[size] ^ FNV_OFFSET,
            (eight_bytes(data, at + 8) | raised) & _HIGH[size] ^ length * GOLDEN,
        )
    return value
