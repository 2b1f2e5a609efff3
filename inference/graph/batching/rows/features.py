"""Operators of ai.onnx.ml, as scikit-learn's exporters write them: a row of features is a sample."""

from __future__ import annotations

from inference.graph.batching.rows.sizes import ONE, product
from inference.graph.batching.rows.values import Operation, Unclear, Value, whole


def of_samples(operation: Operation) -> list[Value]:
    """Scaler, Normalizer: [samples, features], each sample for itself."""
    x = _samples(operation)
    return [x.with_dims(x.known)]


def elementwise(operation: Operation) -> list[Value]:
    """Binarizer, LabelEncoder."""
    x = operation.at(0)
    return [x.with_dims(x.known)]


def regressor(operation: Operation) -> list[Value]:
    """[samples, targets]."""
    x = _samples(operation)
    return [x.with_dims([x.known[0], operation.fresh(1)])]


def classifier(operation: Operation) -> list[Value]:
    """A label for each sample, and [samples, classes]."""
    x = _samples(operation)
    return [x.with_dims(x.known[:1]), x.with_dims([x.known[0], operation.fresh(1, 1)])]


def extractor(operation: Operation) -> list[Value]:
    """ArrayFeatureExtractor: the same features of each sample; or entries of a vector, [1, how many]."""
    x, places = operation.at(0), operation.at(1)
    if x.rank > 1 and places.whole and x.axis != x.rank - 1:
        return [x.with_dims([*x.known[:-1], operation.fresh(x.rank - 1)])]
    if x.rank > 1 or not x.whole or places.axis not in (None, 0):
        raise Unclear("it takes features by places that the rows of the batch have")
    dims = (ONE, product(places.known))
    return [whole(dims) if places.axis is None else places.moved(dims, 1)]


def _samples(operation: Operation) -> Value:
    x = operation.at(0)
    if x.rank != 2 or x.axis not in (None, 0):
        raise Unclear("the rows of the batch are not its samples")
    return x
