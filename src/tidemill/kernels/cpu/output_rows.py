"""How a row kernel hands on a row it has made: as float32, as bf16 bits, or as integers with a scale and a sum."""

from typing import Any

from numba import types
from numba.extending import overload

from tidemill.kernels.cpu.element import rounded
from tidemill.kernels.cpu.quantize import quantize_row


def put_row(source: Any, out: Any, row: Any) -> None:
    """Store `source` (size,) float32 as row `row` of `out`.

    `out` is an array (rows, size), float32 or bf16 bits, or a tuple as QuantizedRows: values (rows, padded size) int8,
    scales (rows,), sums (rows,).
    """
    raise AssertionError("only inside compiled code")


@overload(put_row)
def _put_row(source: Any, out: Any, row: Any) -> Any:
    def as_floats(source: Any, out: Any, row: Any) -> None:
        target = out[row]
        for i in range(source.shape[0]):
            target[i] = rounded(out, source[i])

    def as_integers(source: Any, out: Any, row: Any) -> None:
        values, scales, sums = out
        scales[row], sums[row] = quantize_row(source, values[row])

    return as_integers if isinstance(out, types.BaseTuple) else as_floats
