"""Reads CIFAR's pickled batches without running anything that they name.

An ordinary unpickler calls whatever the file asks for. This one knows three words, array, dtype and bytes, and
maps each to an inert stand-in of its own: no numpy constructor, and nothing else, is ever called with arguments from
the file before they were checked.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from noisette.errors import UserError

_KINDS = {"u1", "i1", "i2", "i4", "i8", "f4", "f8", "b1"}


class _Dtype:
    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else str(name)

    def __setstate__(self, state: Any) -> None:
        """Byte order and field layout: plain little-endian numbers are all there is."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in (">", b">"):
            raise pickle.UnpicklingError("big-endian array")

    def real(self) -> np.dtype[Any]:
        if self.name not in _KINDS:
            raise pickle.UnpicklingError(f"array of {self.name!r}")
        return np.dtype(self.name)


class _Array:
    """Stands where the array will be; `value` is filled in by the pickle's BUILD step."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _build(raw, dtype, shape, "F" if fortran else "C")


def _build(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("not a plain array")
    flat = np.frombuffer(raw, dtype.real())
    if not all(isinstance(k, int) and k >= 0 for k in shape) or math.prod(shape) != flat.size or order not in "CF":
        raise pickle.UnpicklingError("array size and shape differ")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _build(raw, dtype, shape, str(order))
    return array


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1", b"latin1"):
        raise pickle.UnpicklingError("unexpected text encoding")
    return text.encode("latin1")


class _ndarray:
    """The word `numpy.ndarray`, which files name as an argument only."""


_WORDS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _WORDS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def load_arrays(raw: bytes, name: str) -> dict[str, Any]:
    """The dictionary in a pickle of arrays, lists, texts and numbers; keys as text, arrays as numpy arrays.

    Raises UserError, naming the file `name`, when the pickle names anything else or is damaged.
    """
    try:
        content = _Reader(io.BytesIO(raw), encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("it is not a dictionary")
    except Exception as error:  # a damaged pickle raises almost anything
        raise UserError(f"{name}: refused to unpickle it ({error})") from None
    text = {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in content.items()}
    return {k: v.value if isinstance(v, _Array) else v for k, v in text.items()}
