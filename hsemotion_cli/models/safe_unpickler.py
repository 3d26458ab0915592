"""Reads pickles without executing them: bytes -> plain data, tensor references and inert placeholders.

A pickle is a program, and ``pickle.load`` executes it, including imports and calls. Here its instructions are
interpreted by a machine that can neither import nor call: a class or function is represented by its name (``Named``),
a call by a record of it (``Inert``), and the few calls that build tensors by ``TensorRef``. The standard
library's tokenizer (``pickletools.genops``) splits the instructions; ``pickle`` itself is not used, because its C
implementation allocates whatever size a file declares.

Names that only an attack would use are rejected at once, for a clear message: they are as harmless here as any other
name.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelUnavailable

MAX_INSTRUCTIONS = 500_000
"""EmotiEffNet-B2 as a pickled module needs 66,000; half a million take two seconds and 0.1 GB."""

MAX_MARKS = 256
"""Nesting depth of collections; pickled modules reach about twenty."""

MAX_DIMENSIONS = 8

_MODULES = """
    os posix nt subprocess sys shutil socket pty importlib runpy ctypes code codeop pickle _pickle cPickle marshal
    operator _operator webbrowser urllib http requests asyncio multiprocessing signal io _io pip timeit cProfile
    profile pdb bdb doctest trace idlelib distutils commands popen2 _posixsubprocess linecache zipimport pkgutil
    shelve dill cloudpickle joblib
"""
HOSTILE_MODULES = frozenset(_MODULES.split())
"""Top-level modules that no checkpoint needs."""

_BUILTINS = """
    eval exec execfile compile getattr setattr delattr hasattr __import__ open file input breakpoint globals locals
    vars apply map filter reduce memoryview type help exit quit super print
"""
HOSTILE_BUILTINS = frozenset(_BUILTINS.split())

_NAMES = """
    torch.load torch.save torch.hub.load torch.storage._load_from_bytes torch.serialization.load torch.jit.load
    torch.ops.load_library torch.classes.load_library torch.utils.cpp_extension.load functools.reduce
    numpy.load numpy.fromfile numpy.memmap numpy.testing._private.utils.runstring
"""
HOSTILE_NAMES = frozenset(_NAMES.split())


class UnsafeCheckpoint(ModelUnavailable):
    """A file that requests something that no network needs, or declares more data than it contains."""


class DamagedCheckpoint(ModelUnavailable):
    """A file that is not a checkpoint, or only a part of one."""


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function, represented by its name only."""

    name: str


@dataclass(slots=True, eq=False)
class Inert:
    """A placeholder for an object that is not constructed.

    Attributes:
        name: of the class or function, as "module.name".
        args: arguments of the call.
        state: its attributes.
        items: its items by key.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of numbers elsewhere in the file.

    Attributes:
        key: identifies the block.
        kind: name of torch's storage class, such as "FloatStorage".
        count: numbers in it, as declared; checked against the file by ``checkpoints``.
    """

    key: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor: its storage, offset, shape and strides (in numbers, not bytes)."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRef:
    """torch._utils._rebuild_tensor(_v2); all of its numbers must be inside its storage, none of them repeated."""
    if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(stride, tuple)):
        raise DamagedCheckpoint("a tensor is described without a storage or a shape.")
    sound = len(shape) == len(stride) <= MAX_DIMENSIONS and all(map(_natural, (offset, *shape, *stride)))
    if not sound:
        raise UnsafeCheckpoint("a tensor has an impossible shape.")
    # A stride of 0 repeats numbers, so a few bytes could declare a tensor of any size.
    extent = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
    if math.prod(shape) > storage.count or (math.prod(shape) and extent > storage.count):
        raise UnsafeCheckpoint(f"a tensor of shape {shape[:4]} is declared in a storage of {storage.count} numbers.")
    return TensorRef(storage, offset, shape, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    """collections.OrderedDict, also as written by old Python versions, with a list of pairs as its argument."""
    made: dict[Any, Any] = {}
    for pair in pairs:
        key, value = pair
        _set(made, key, value)
    return made


def _size(numbers: Any = (), *_: Any) -> tuple[Any, ...]:
    return tuple(numbers)


BUILDERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "collections.OrderedDict": _ordered,
    "torch.Size": _size,
}
"""The allow list: name -> function that builds the result of a call. Every other call gives an ``Inert``."""


def named(module: str, name: str) -> Named:
    """The placeholder of a class or function.

    Raises:
        UnsafeCheckpoint: only an attack would use this name.
    """
    full = f"{module}.{name}"
    top = module.partition(".")[0]
    hostile = (
        top in HOSTILE_MODULES
        or full in HOSTILE_NAMES
        or (top in ("builtins", "__builtin__") and name.partition(".")[0] in HOSTILE_BUILTINS)
        # A dotted name can reach another module through the first: "torch" "os.system".
        or any(part in HOSTILE_MODULES or (part[:2] == "__" and len(part) > 4) for part in name.split("."))
    )
    if hostile:
        raise UnsafeCheckpoint(f"it asks to run {full[:80]}, which no network needs; nothing was run.")
    return Named(full)


def _external(identity: Any) -> Storage | Named:
    """The object that a persistent id of torch.save refers to.

    ("storage", class, key, device, count[, view]) is a storage; ("module", class, file, source), only in
    the format before torch 1.6, is a class with its source code.
    """
    if (
        isinstance(identity, tuple)
        and len(identity) == 4
        and identity[0] == "module"
        and isinstance(identity[1], Named)
    ):
        return identity[1]
    if not (isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"):
        raise DamagedCheckpoint("it refers to something outside itself that is not a storage.")
    kind, key, count = identity[1], identity[2], identity[4]
    if not (isinstance(kind, Named) and isinstance(key, str | int) and _natural(count)):
        raise DamagedCheckpoint("its description of a storage is invalid.")
    if len(identity) == 6 and identity[5] is not None:
        raise DamagedCheckpoint("it contains views of storages, a format abandoned before torch 0.4.")
    return Storage(str(key), kind.name.rpartition(".")[2], count)


def _plain(key: Any) -> bool:
    return key is None or isinstance(key, str | bytes | int | float | Named | Inert | TensorRef | Storage)


def _set(target: Any, key: Any, value: Any) -> None:
    # Hashing a tuple is recursive: a key of a million nested tuples would exhaust the stack.
    if not (_plain(key) or (isinstance(key, tuple) and len(key) <= 16 and all(map(_plain, key)))):
        raise UnsafeCheckpoint("a dictionary has a nested or changeable key.")
    if isinstance(target, Inert):
        target.items[key] = value
    elif isinstance(target, dict):
        target[key] = value
    else:
        raise DamagedCheckpoint("it sets an item of an object without items.")


class _Mark:
    """Marks the start of a collection on the stack."""


# Instructions whose argument is the value itself.
_ARGUMENTS = """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
_LITERALS = frozenset(_ARGUMENTS.split())
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Inert("builtins.set", ([],)),
}


class Machine:
    """The stack machine that executes pickles, without imports and calls."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks = 0
        self.spent = 0
        self.memo: dict[int, Any] = {}
        self.steps: dict[str, Callable[[Any], None]] = {
            name[4:].upper(): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def run(self, stream: Any) -> Any:
        """Interpret one pickle, up to and including its STOP; another one may follow in the stream.

        Args:
            stream: bytes, or an object with ``read``, ``readline`` and ``tell`` that returns no more bytes than it has.

        Raises:
            UnsafeCheckpoint: a dangerous name, an instruction that no checkpoint needs, or too many instructions.
            DamagedCheckpoint: it is truncated or invalid.
        """
        self.stack, self.memo, self.marks = [], {}, 0
        try:
            for instruction, argument, _ in pickletools.genops(stream):
                self.spend(1)
                self.step(instruction.name, argument)
            return self.pop()
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DamagedCheckpoint(f"its pickle is invalid ({error}).") from error

    def spend(self, instructions: int) -> None:
        """Count instructions against the limit, which applies to all pickles of a file together."""
        self.spent += instructions
        if self.spent > MAX_INSTRUCTIONS:
            raise UnsafeCheckpoint(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions.")

    def step(self, name: str, argument: Any) -> None:
        """Interpret one instruction."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in self.steps:
            self.steps[name](argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise UnsafeCheckpoint(f"its pickle has the instruction {name}, which no checkpoint needs.")

    def pop(self) -> Any:
        """The top of the stack, which must be a value."""
        value = self.stack.pop()
        if value is _Mark:
            raise DamagedCheckpoint("its pickle ends a collection that was not started.")
        return value

    def top(self) -> Any:
        """The top of the stack, without removing it."""
        value = self.pop()
        self.stack.append(value)
        return value

    def since_mark(self) -> list[Any]:
        """Remove and return everything above the last mark, and remove the mark."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _Mark:
                values = self.stack[position + 1 :]
                del self.stack[position:]
                self.marks -= 1
                return values
        raise DamagedCheckpoint("its pickle ends a collection that was not started.")

    def call(self, function: Any, arguments: Any) -> None:
        """The result of a call: a value built by the allow list, or an inert record."""
        if not isinstance(arguments, tuple):
            raise DamagedCheckpoint("its pickle calls something without a tuple of arguments.")
        if isinstance(function, Named) and function.name in BUILDERS:
            # A builder copies its arguments; repeated calls with one long list must count by its length.
            self.spend(sum(len(part) for part in arguments if isinstance(part, list | tuple | dict)))
            self.stack.append(BUILDERS[function.name](*arguments))
        else:
            name = function.name if isinstance(function, Named | Inert) else type(function).__name__
            self.stack.append(Inert(name, arguments))

    def _do_mark(self, _: Any) -> None:
        self.marks += 1
        if self.marks > MAX_MARKS:
            raise UnsafeCheckpoint(f"its pickle nests collections more than {MAX_MARKS} deep.")
        self.stack.append(_Mark)

    def _do_pop(self, _: Any) -> None:
        self.marks -= self.stack.pop() is _Mark

    def _do_pop_mark(self, _: Any) -> None:
        self.since_mark()

    def _do_dup(self, _: Any) -> None:
        self.stack.append(self.top())

    def _do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.since_mark()))

    def _do_tuple1(self, _: Any) -> None:
        self.stack.append((self.pop(),))

    def _do_tuple2(self, _: Any) -> None:
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def _do_tuple3(self, _: Any) -> None:
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def _do_list(self, _: Any) -> None:
        self.stack.append(self.since_mark())

    def _do_dict(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append({})
        self._fill(values)

    def _do_frozenset(self, _: Any) -> None:
        self.stack.append(Inert("builtins.frozenset", (self.since_mark(),)))

    def _extend(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Inert) and target.args and isinstance(target.args[0], list):
            target.args[0].extend(values)
        elif not isinstance(target, Inert):
            raise DamagedCheckpoint("its pickle appends to something that is not a list.")

    def _do_append(self, _: Any) -> None:
        value = self.pop()
        self._extend([value])

    def _do_appends(self, _: Any) -> None:
        self._extend(self.since_mark())

    _do_additems = _do_appends

    def _fill(self, values: list[Any]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            _set(self.top(), key, value)

    def _do_setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._fill([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._fill(self.since_mark())

    def _do_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(named(module, name))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise DamagedCheckpoint("its pickle has a class name that is not text.")
        self.stack.append(named(module, name))

    def _do_inst(self, argument: str) -> None:
        arguments = tuple(self.since_mark())
        module, _, name = argument.partition(" ")
        self.call(named(module, name), arguments)

    def _do_obj(self, _: Any) -> None:
        function, *arguments = self.since_mark()
        self.call(function, tuple(arguments))

    def _do_reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        self.call(function, arguments)

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: Any) -> None:
        self.pop()  # keyword arguments
        self._do_reduce(None)

    def _do_build(self, _: Any) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict | TensorRef):  # attributes of an OrderedDict or tensor are ignored
            raise DamagedCheckpoint("its pickle sets the state of an object without one.")

    def _do_binpersid(self, _: Any) -> None:
        self.stack.append(_external(self.pop()))

    def _do_put(self, index: int) -> None:
        self.memo[index] = self.top()

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.top()

    def _do_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _do_binget = _do_long_binget = _do_get
