"""A checkpoint's tensors, read one by one as the model has them, whatever the files call them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from lagsearch.errors import ModelError
from lagsearch.models.files import weight_files
from lagsearch.models.headers import TYPES, StoredTensor, most_common_type, tensors_in
from lagsearch.models.naming import Naming, Stored, is_ignored
from lagsearch.models.reading import TensorReader, check_finite

_SHOWN = 4


class CheckpointTensors(Mapping[str, torch.Tensor]):
    """A checkpoint's tensors by the names of the whole model, whatever the number of its files.

    Files may have them without the model's first part (`transformer.h.0...` and `h.0...`), by older
    names, wrapped, or in pieces (a tensor for each expert), as transformers would load them. Only
    what is asked for is read, and nothing that is not a number is handed on.

    Args:
        folder: The checkpoint.
        model: The model that it is, on `meta`.
        allow_pickle: Read `*.bin` where there is no safetensors, with `weights_only`.

    Raises:
        ModelError: There are no weights, or a file cannot be read.
    """

    def __init__(self, folder: Path, model: nn.Module, *, allow_pickle: bool = False) -> None:
        self._folder = folder
        self._reader = TensorReader()
        self._loaded: dict[str, torch.Tensor] = {}
        files = weight_files(folder, allow_pickle=allow_pickle)
        pickled = [path for path in files if path.suffix != ".safetensors"]
        self._where = tensors_in({path: files[path] for path in files if path not in pickled})
        for path in pickled:
            self._loaded |= _unpickled(path)
        shapes = {name: self._raw_shape(name) for name in (*self._where, *self._loaded)}
        self.naming = Naming(model, shapes)
        self._made: tuple[str, dict[str, torch.Tensor]] = ("", {})

    @property
    def wrapper(self) -> str:
        """What all names in the files begin with that is no model's."""
        return self.naming.wrapper

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of what is read and what is not."""
        notes = []
        if self.wrapper:
            notes.append(f"all names in {self._folder} begin with {self.wrapper}: taken off")
        if left := self.left_out:
            shown = ", ".join(left[:_SHOWN]) + (" ..." if len(left) > _SHOWN else "")
            kind = type(self.naming.model).__name__
            some = "a tensor is" if len(left) == 1 else f"{len(left)} tensors are"
            notes.append(f"{some} left out, which a {kind} of this configuration lacks: {shown}")
        return tuple(notes)

    @property
    def left_out(self) -> list[str]:
        """Tensors in the files that the model does not take, but for what may be left out."""
        left = self.naming.left_over
        return [name for name in left if not is_ignored(self.naming.model, name)]

    def _raw_shape(self, name: str) -> tuple[int, ...]:
        if name in self._loaded:
            return tuple(self._loaded[name].shape)
        return self._where[name].shape

    def _raw(self, name: str) -> torch.Tensor:
        """Read a tensor as the files have it, by its name there.

        Raises:
            ModelError: Its type is not known, or it holds what is no number.
        """
        self._raw_type(name)
        if name not in self._loaded:
            return self._reader.read(self._where[name])
        check_finite(self._loaded[name], self._place(name))
        return self._loaded[name]

    def _raw_type(self, name: str) -> torch.dtype:
        if name in self._loaded:
            return self._loaded[name].dtype
        words = self._where[name].dtype
        if words not in TYPES:
            raise ModelError(
                f"{self._place(name)} is stored as {words}, and nothing says by what it is scaled; "
                "bring the weights it was made from"
            )
        found: torch.dtype = getattr(torch, TYPES[words])
        return found

    def _place(self, name: str) -> str:
        return self._where[name].place if name in self._where else f"{self._folder}: {name}"

    def in_file(self, name: str) -> StoredTensor | None:
        """Return the one tensor in a file that a tensor is, or None where there is no such one.

        Raises:
            ModelError: Its type is not known.
        """
        stored = self.stored(name)
        if stored is None or stored.rule is not None:
            return None
        raw = self.naming.raw(stored.pieces[0][0])
        self._raw_type(raw)
        return self._where.get(raw)

    def stored(self, name: str) -> Stored | None:
        """Return what of the files makes a tensor, or None where they do not have it."""
        found = self.naming.stored(name)
        return found[1] if found else None

    def _first(self, name: str) -> str:
        stored = self.stored(name)
        if stored is None:
            raise KeyError(name)
        return self.naming.raw(stored.pieces[0][0])

    def __getitem__(self, name: str) -> torch.Tensor:
        found = self.naming.stored(name)
        if found is None:
            raise KeyError(name)
        name, stored = found
        if stored.rule is None:
            return self._raw(self._first(name))
        if self._made[0] != stored.key:
            pieces = {each: self._raw(self.naming.raw(each)) for each, _ in stored.pieces}
            self._made = (stored.key, stored.made(self.naming.model, pieces))
        return self._made[1][name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.stored(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.naming.of)

    def __len__(self) -> int:
        return len(self.naming.of)

    def dtype(self, name: str) -> torch.dtype:
        """Return a tensor's type without reading its values.

        Raises:
            KeyError: There is no such tensor.
            ModelError: Its type is not known.
        """
        return self._raw_type(self._first(name))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape without reading its values.

        Raises:
            KeyError: There is no such tensor.
        """
        found = self.naming.stored(name)
        if found is None:
            raise KeyError(name)
        return self.naming.shapes[found[0]]

    @property
    def usual_type(self) -> torch.dtype:
        """The type of most tensors in the files."""
        found = [self._raw_type(name) for name in (*self._where, *self._loaded)]
        found = [each for each in found if each.is_floating_point] or [torch.float32]
        return most_common_type(found)

    def release(self) -> None:
        """Let go of all files, and so of what of them is in memory."""
        self._reader.release()
        self._made = ("", {})


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """Read a pickled file's tensors, and nothing else that may be in it.

    Raises:
        ModelError: It is no such file, or holds more than tensors.
    """
    errors: list[str] = []
    for is_mapped in (True, False):  # files of old torch versions cannot be mapped
        try:
            found: dict[str, torch.Tensor] = torch.load(
                path, map_location="cpu", weights_only=True, mmap=is_mapped
            )
        except Exception as error:  # torch raises many types here
            errors.append(" ".join(str(error).split())[:160])
            continue
        if all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
            return found
        errors.append("it holds more than tensors")
    raise ModelError(f"{path}: not a readable file of weights: {errors[-1]}")
