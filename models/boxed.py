"""Reading `.npy` files that hold one Python object, as numpy saves a dict, without running what they may contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.errors import CorpusError
from models.pickles import DAMAGE, RestrictedUnpickler

ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")  # NumPy 1 and 2
READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_boxed(path: Path) -> Any:
    """The object in a `.npy` file of plain containers, numbers and strings. Errors: CorpusError naming the file, as of `load_pickle`."""
    try:
        with path.open("rb") as file:
            _skip_header(file)
            box = _BoxUnpickler(file).load()
            if not isinstance(box, _Box):
                raise CorpusError(f"holds a {type(box).__name__}, and an array of one object is expected")
            return box.value
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror or error})") from None
    except CorpusError as error:
        raise CorpusError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise CorpusError(f"{path}: not a readable .npy file of one object ({' '.join(str(error).split())[:120]})") from None


def _skip_header(file: BinaryIO) -> None:
    read = READ_HEADER.get(np.lib.format.read_magic(file))
    if read is None:
        raise ValueError("an unknown version of the format")
    shape, _, dtype = read(file)
    if shape != () or not dtype.hasobject:
        raise CorpusError(f"holds {dtype} of shape {shape}, and one object is expected")


class _Box:
    """Stands in for the array of one object."""

    value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, _dtype, _fortran, values = state
        if shape != () or len(values) != 1:
            raise ValueError(f"an array of shape {shape}")
        (self.value,) = values


class _ObjectType:
    """Stands in for the array's type."""

    def __init__(self, code: str, *_flags: Any) -> None:
        if code not in ("O", "O8"):
            raise ValueError(f"numpy data of type {code}")

    def __setstate__(self, state: Any) -> None:
        pass


def _new_box(*_: Any) -> _Box:
    return _Box()


class _BoxUnpickler(RestrictedUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ARRAYS and name == "_reconstruct":
            return _new_box
        return {("numpy", "ndarray"): _Box, ("numpy", "dtype"): _ObjectType}.get((module, name)) or super().find_class(module, name)
