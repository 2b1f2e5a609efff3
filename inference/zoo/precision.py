"""In what numbers a model computes and keeps its weights."""

from __future__ import annotations

import dataclasses

import numpy as np
from onnx import TensorProto

from inference.documents import DType

BLOCK = 32  # weights that share a scale


@dataclasses.dataclass(frozen=True)
class Precision:
    """Ports are float32 in every precision: a caller need not know it.

    Attributes:
        half: activations and unquantised weights are float16 inside.
        bits: of the weights of linear layers, 4 or 8, as com.microsoft MatMulNBits in blocks of 32 with a
            scale each (see `quantise`); None leaves them as they are.
    """

    half: bool = False
    bits: int | None = None

    @property
    def dtype(self) -> DType:
        return np.dtype(np.float16 if self.half else np.float32)

    @property
    def onnx_type(self) -> int:
        return int(TensorProto.FLOAT16 if self.half else TensorProto.FLOAT)


FLOAT32, FLOAT16 = Precision(), Precision(half=True)
INT8, INT4 = Precision(bits=8), Precision(bits=4)
INT4_FLOAT16 = Precision(half=True, bits=4)

PRECISIONS = {
    "float32": FLOAT32,
    "float16": FLOAT16,
    "int8": INT8,
    "int4": INT4,
    "int4-float16": INT4_FLOAT16,
}
