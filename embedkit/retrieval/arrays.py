"""Files of NumPy arrays on disks that may be full."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file to the disk. Raises `OSError` where that is full; `np.save` loses the last bytes there without
    a word."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        if array.size:
            file.write(array.data.cast("B"))
        file.flush()
        os.fsync(file.fileno())


def mapped_array(path: Path, dtype: DTypeLike, count: int) -> np.memmap[Any, Any]:
    """A new .npy file of zeros (count,), mapped to be written. Raises `OSError` where the disk has no room for it: a
    write into a file with holes would find that out later, and end the process."""
    array = npy.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(count,))
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
