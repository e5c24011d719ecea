"""Names of classes in the metadata of Parquet tables: our own key, and that of HuggingFace's datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raynas.errors import DataError
from raynas.texts import parse_json
from raynas.wording import first_of


def class_names(
    spec: str, tables: Sequence[str], schemas: Sequence[Any], column: str, labels: np.ndarray
) -> tuple[tuple[str, ...], str]:
    """Names of classes in the order of their numbers, and where they come from; empty where the metadata have none.

    They stand under `label_names` as a JSON list, or separated by commas where that gives as many names as there are
    labels; or under `huggingface`, as the features of a ClassLabel.

    Args:
        spec: What the user asked for as data, for messages.
        tables: Names of the tables.
        schemas: Arrow schemas of these.
        column: The column of labels.
        labels: (rows,) the labels of all rows of all tables.

    Raises:
        DataError: Names are of another form, or differ from table to table.
    """
    found = [_names(spec, schema.metadata or {}, column, labels) for schema in schemas]
    for table, one in zip(tables, found, strict=True):
        if one[0] != found[0][0]:
            raise DataError(
                f"data {spec!r}: the classes of {table} ({_shown(one[0])}) are not those of {tables[0]} "
                f"({_shown(found[0][0])})"
            )
    return found[0]


def _shown(names: Sequence[str]) -> str:
    return first_of(names) or "none named"


def _names(spec: str, metadata: Any, column: str, labels: np.ndarray) -> tuple[tuple[str, ...], str]:
    own = _own_names(spec, metadata.get(b"label_names", b""), labels)
    others = _huggingface_names(metadata.get(b"huggingface", b""), column)
    if own and others and own != others:
        raise DataError(
            f"data {spec!r}: the metadata name the classes twice, under label_names ({_shown(own)}) and under "
            f"huggingface ({_shown(others)})"
        )
    if own:
        return own, "the metadata under label_names"
    return (others, "the metadata under huggingface") if others else ((), "")


def _own_names(spec: str, content: bytes, labels: np.ndarray) -> tuple[str, ...]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise DataError(f"data {spec!r}: label_names in the metadata is no text in UTF-8") from None
    if not text.strip():
        return ()
    if text.lstrip().startswith("["):
        try:
            names = parse_json(text)
        except ValueError as error:
            raise DataError(f"data {spec!r}: label_names in the metadata is no JSON list: {error}") from None
        if not all(isinstance(name, str) for name in names):
            raise DataError(f"data {spec!r}: label_names in the metadata is no list of texts: {text[:60]}")
        return tuple(names)
    split = tuple(name.strip() for name in text.split(","))
    count = int(labels.max()) + 1
    # A name may hold a comma itself.
    if len(split) != count and int(labels.min()) >= 0:
        raise DataError(
            f"data {spec!r}: label_names in the metadata has {len(split)} names between commas, and labels go from 0 "
            f"to {count - 1}; write the names as a JSON list"
        )
    return split


def _huggingface_names(content: bytes, column: str) -> tuple[str, ...]:
    """Names by the features that HuggingFace's datasets store; empty if there are none that can be read."""
    try:
        features = parse_json(content.decode())["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return ()
    if isinstance(features, list):  # as in cards: a list of {name, dtype}
        found = [one.get("dtype") for one in features if isinstance(one, dict) and one.get("name") == column]
        return _names_of_feature(found[-1]) if found else ()
    return _names_of_feature(features.get(column)) if isinstance(features, dict) else ()


def _names_of_feature(feature: Any) -> tuple[str, ...]:
    while isinstance(feature, dict | list):
        if isinstance(feature, list):  # a sequence of it, in older forms
            feature = feature[0] if len(feature) == 1 else None
            continue
        names = feature.get("names")
        if isinstance(names, dict):  # by the number as a text
            try:
                names = [names[key] for key in sorted(names, key=int)]
            except ValueError:
                return ()
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        feature = feature.get("class_label") or feature.get("feature")
    return ()
