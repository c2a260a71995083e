"""Reading published pickles without running what they may contain.

The published corpora and vocabularies are plain `pickle.dump` output: dicts of numbers, strings and torch tensors, which appear as
`torch._utils._rebuild_tensor_v2` over `torch.storage._load_from_bytes` (mska.md, section 1). Only the functions of `_ALLOWED` can be
called by such a file, each through a stand-in of ours that checks its arguments; every other global is refused by its name.
"""

from __future__ import annotations

import collections
import gzip
import io
import pickle
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from models.errors import CorpusError

# What the unpickler and gzip raise for damaged bytes.
DAMAGE = (
    pickle.UnpicklingError,
    zlib.error,
    EOFError,
    OverflowError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    RuntimeError,
    MemoryError,
)


def load_pickle(path: Path, *, encoding: str = "ASCII") -> Any:
    """The object in a pickle file, gzipped or not, that holds plain containers, numbers, strings, torch tensors or numpy arrays.

    encoding: of the texts that Python 2 wrote; `latin1` reads its numpy arrays.
    Errors: CorpusError naming the file where it is missing, truncated, or refers to anything else (named as `module.name`).
    """
    try:
        with _opened(path) as file:
            return RestrictedUnpickler(file, encoding=encoding).load()
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror or error})") from None
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:120]
        raise CorpusError(f"{path}: not a readable pickle, truncated or damaged ({type(error).__name__}: {reason})") from None


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if gzipped else path.open("rb")


class RestrictedUnpickler(pickle.Unpickler):
    """Refuses every global but those of `_ALLOWED`."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise CorpusError(
                f"refers to {module}.{name}, which is not loaded: only plain containers, numbers, strings and tensors are read from pickles"
            ) from None


def _storage_from_bytes(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _rebuild_tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_unused: Any) -> torch.Tensor:
    """A view of `storage`; torch itself would enlarge a storage that the view exceeds, with whatever memory holds."""
    extent = 0 if 0 in size else offset + 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or extent * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise ValueError(f"a tensor of shape {tuple(size)} exceeds its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, tuple(size), tuple(stride))


def _rebuild_array(subtype: Any, _shape: Any, _typecode: Any) -> np.ndarray:
    if subtype is not np.ndarray:
        raise ValueError("a numpy array of another class")
    return np.ndarray((0,), dtype=np.uint8)


def _array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype=_numeric(dtype)).reshape(shape, order=order)


def numpy_scalar(dtype: Any, data: bytes = b"") -> Any:
    return np.frombuffer(data, dtype=_numeric(dtype), count=1)[0]


def _numeric(dtype: Any) -> np.dtype:
    numeric: np.dtype = np.dtype(dtype)
    if numeric.kind not in "biuf":
        raise ValueError(f"numpy data of type {dtype}")
    return numeric


def numpy_dtype(code: str, *_flags: Any) -> np.dtype:
    return _numeric(np.dtype(code))


def _latin1(text: str, _encoding: str) -> bytes:
    """How protocols 0 to 2 write bytes."""
    return text.encode("latin1")


_NUMPY_MODULES = ("numpy.core", "numpy._core")  # NumPy 1 and 2
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): numpy_dtype,
    ("_codecs", "encode"): _latin1,
    **{(f"{module}.multiarray", "_reconstruct"): _rebuild_array for module in _NUMPY_MODULES},
    **{(f"{module}.multiarray", "scalar"): numpy_scalar for module in _NUMPY_MODULES},
    **{(f"{module}.numeric", "_frombuffer"): _array_from_buffer for module in _NUMPY_MODULES},
}
