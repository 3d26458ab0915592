"""A reader of pickles that can run nothing: bytes in, plain data, tensor references and inert placeholders out.

A pickle is a little program, and ``pickle.load`` runs it, imports and calls included. Here its instructions
are interpreted without any means to import or to call: a class or function is only ever its name (``Named``),
"calling" one makes a record of the call (``Inert``), and the handful of names that describe tensors make
``TensorRef``. The standard library's tokenizer (``pickletools.genops``) finds the instructions; ``pickle``
itself is not used, because its C implementation allocates what a file merely declares.

Names that only an attack would ask for are refused at once. That is for the sake of a clear message: they
could do no more here than any other name.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelUnavailable

MAX_INSTRUCTIONS = 500_000
"""EmotiEffNet-B2 as a whole module takes 66 thousand; half a million take two seconds and 0.1 GB."""

MAX_MARKS = 256
"""Collections begun inside one another; whole modules reach about twenty."""

MAX_DIMENSIONS = 8

_MODULES = """
    os posix nt subprocess sys shutil socket pty importlib runpy ctypes code codeop pickle _pickle cPickle marshal
    operator _operator webbrowser urllib http requests asyncio multiprocessing signal io _io pip timeit cProfile
    profile pdb bdb doctest trace idlelib distutils commands popen2 _posixsubprocess linecache zipimport pkgutil
    shelve dill cloudpickle joblib
"""
HOSTILE_MODULES = frozenset(_MODULES.split())
"""Top-level modules of which a checkpoint needs nothing."""

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
    """A file that asks for something that no network needs, or declares more than it holds."""


class DamagedCheckpoint(ModelUnavailable):
    """A file that is not a checkpoint, or only a part of one."""


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function, of which nothing but the name is ever used."""

    name: str


@dataclass(slots=True, eq=False)
class Inert:
    """Stands for an object of a class that this reader does not construct.

    Attributes:
        name: of the class or function, as "module.name".
        args: what it was to be called with.
        state: what was to become its attributes.
        items: what was to be set in it by key.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """A stretch of numbers elsewhere in the file.

    Attributes:
        key: names the stretch.
        kind: torch's name of the storage class, such as "FloatStorage".
        count: numbers in it, as declared; the container checks it against what is there.
    """

    key: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor: where its numbers begin in its storage and how they lie (in numbers, not bytes)."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRef:
    """torch._utils._rebuild_tensor(_v2); every number of it must lie inside its storage, and none twice over."""
    if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(stride, tuple)):
        raise DamagedCheckpoint("a tensor is described without a storage or a shape.")
    sound = len(shape) == len(stride) <= MAX_DIMENSIONS and all(map(_natural, (offset, *shape, *stride)))
    if not sound:
        raise UnsafeCheckpoint("a tensor has an impossible shape.")
    # A stride of 0 repeats numbers: a few bytes may so declare a tensor of any size.
    extent = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
    if math.prod(shape) > storage.count or (math.prod(shape) and extent > storage.count):
        raise UnsafeCheckpoint(f"a tensor of shape {shape[:4]} is declared in a storage of {storage.count} numbers.")
    return TensorRef(storage, offset, shape, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    """collections.OrderedDict, also as old Pythons write it, with a list of pairs as its argument."""
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
"""The allow list: what a call of these names makes. Every other call makes an ``Inert``."""


def named(module: str, name: str) -> Named:
    """The placeholder of a class or function.

    Raises:
        UnsafeCheckpoint: only an attack would ask for it.
    """
    full = f"{module}.{name}"
    top = module.partition(".")[0]
    hostile = (
        top in HOSTILE_MODULES
        or full in HOSTILE_NAMES
        or (top in ("builtins", "__builtin__") and name.partition(".")[0] in HOSTILE_BUILTINS)
        # A dotted name reaches through one module into another: "torch" "os.system".
        or any(part in HOSTILE_MODULES or (part[:2] == "__" and len(part) > 4) for part in name.split("."))
    )
    if hostile:
        raise UnsafeCheckpoint(f"it asks to run {full[:80]}, which no network needs; nothing was run.")
    return Named(full)


def _external(identity: Any) -> Storage | Named:
    """What a persistent id of torch.save stands for.

    ("storage", class, key, device, count[, view]) is a storage; ("module", class, file, source), which only the
    format before torch 1.6 has, is a class with the text of its source.
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
        raise DamagedCheckpoint("it describes a storage wrongly.")
    if len(identity) == 6 and identity[5] is not None:
        raise DamagedCheckpoint("it holds views of storages, a form that torch gave up before 0.4.")
    return Storage(str(key), kind.name.rpartition(".")[2], count)


def _plain(key: Any) -> bool:
    return key is None or isinstance(key, str | bytes | int | float | Named | Inert | TensorRef | Storage)


def _set(target: Any, key: Any, value: Any) -> None:
    # Hashing is recursive in tuples: a key of a million nested ones would exhaust the stack.
    if not (_plain(key) or (isinstance(key, tuple) and len(key) <= 16 and all(map(_plain, key)))):
        raise UnsafeCheckpoint("a dictionary has a nested or changeable key.")
    if isinstance(target, Inert):
        target.items[key] = value
    elif isinstance(target, dict):
        target[key] = value
    else:
        raise DamagedCheckpoint("it sets an item of something that has none.")


class _Mark:
    """Where a collection begins on the stack."""


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
    """The stack machine that a pickle is written for, without imports and calls."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks = 0
        self.spent = 0
        self.memo: dict[int, Any] = {}
        self.steps: dict[str, Callable[[Any], None]] = {
            name[4:].upper(): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def run(self, stream: Any) -> Any:
        """Interpret one pickle, up to and including its STOP; the next one may follow it in the stream.

        Args:
            stream: bytes, or anything with ``read``, ``readline`` and ``tell`` that reads no more than there is.

        Raises:
            UnsafeCheckpoint: a hostile name, an instruction that no checkpoint needs, too many instructions.
            DamagedCheckpoint: it breaks off or makes no sense.
        """
        self.stack, self.memo, self.marks = [], {}, 0
        try:
            for instruction, argument, _ in pickletools.genops(stream):
                self.spend(1)
                self.step(instruction.name, argument)
            return self.pop()
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DamagedCheckpoint(f"its pickle makes no sense ({error}).") from error

    def spend(self, instructions: int) -> None:
        """Count work against the limit, which holds for all pickles of a file together."""
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
            raise DamagedCheckpoint("its pickle closes a collection that it did not begin.")
        return value

    def top(self) -> Any:
        """The top of the stack, left there."""
        value = self.pop()
        self.stack.append(value)
        return value

    def since_mark(self) -> list[Any]:
        """Everything above the last mark, taken off together with the mark."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _Mark:
                values = self.stack[position + 1 :]
                del self.stack[position:]
                self.marks -= 1
                return values
        raise DamagedCheckpoint("its pickle closes a collection that it did not begin.")

    def call(self, function: Any, arguments: Any) -> None:
        """What a call becomes: the value of a builder on the allow list, or an inert record of it."""
        if not isinstance(arguments, tuple):
            raise DamagedCheckpoint("its pickle calls something without a tuple of arguments.")
        if isinstance(function, Named) and function.name in BUILDERS:
            # A builder copies its arguments; calling it again and again on one long list must cost what it takes.
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
            raise DamagedCheckpoint("its pickle names a class by something that is not text.")
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
        elif not isinstance(target, dict | TensorRef):  # attributes of an OrderedDict or tensor: nothing needs them
            raise DamagedCheckpoint("its pickle gives a state to something that has none.")

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
