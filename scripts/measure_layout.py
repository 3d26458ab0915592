"""Print figures about the layout of the package: folders, lengths of modules and functions, import layers.

    python scripts/measure_layout.py                  # this working tree
    python scripts/measure_layout.py PATH/hsemotion_cli   # another one, such as a git worktree of an older revision

Lines are counted as in the file. A function's length is without its docstring. A room is a folder, or a module at the
top level; an arrow is a pair of rooms of which one imports the other, also inside functions or for type checking. The
layer of a room is 0 if it imports no other room, else one more than the highest layer that it imports; rooms that
import each other in a circle count as one layer.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "hsemotion_cli"
LONGEST_FUNCTION = 60


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, nargs="?", default=PACKAGE, help="folder of the package")
    package: Path = parser.parse_args().package
    files = [path for path in sorted(package.rglob("*.py")) if path.stem not in ("__init__", "__main__")]
    print_modules(package, files)
    print_functions(package, files)
    print_imports(package, files)


def print_modules(package: Path, files: list[Path]) -> None:
    """Modules per folder, and their lengths."""
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files}
    homes = Counter(str(path.parent.relative_to(package)) for path in files)
    print(
        f"{len(files)} modules in {sum(home != '.' for home in homes)} folders, {homes['.']} of them at the top level"
    )
    for home, count in sorted(homes.items()):
        inside = [lines[path] for path in files if str(path.parent.relative_to(package)) == home]
        print(f"  {home:<12} {count:>3} modules, median {statistics.median(inside):>5.0f}, longest {max(inside):>4}")
    longest = max(lines, key=lines.__getitem__)
    median = statistics.median(lines.values())
    print(f"module length: median {median:.0f}, longest {lines[longest]} ({longest.relative_to(package)})")


def print_functions(package: Path, files: list[Path]) -> None:
    """Lengths of functions, and those that do not fit on a screen."""
    found: list[tuple[int, str]] = []
    untyped = 0
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((function_length(node), f"{path.relative_to(package)}: {node.name}"))
                untyped += node.returns is None
    lengths = [length for length, _ in found]
    print(f"{len(found)} functions: median {statistics.median(lengths):.0f} lines, {untyped} without a return type")
    long = sorted((entry for entry in found if entry[0] > LONGEST_FUNCTION), reverse=True)
    print(f"functions over {LONGEST_FUNCTION} lines: {len(long)} ({len(long) / len(found):.1%})")
    for length, name in long:
        print(f"  {length} {name}")


def function_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without decorators and docstring."""
    first, last = node.lineno, node.end_lineno or node.lineno
    documented = ast.get_docstring(node) is not None
    return last - first + 1 - ((node.body[0].end_lineno or 0) - node.body[0].lineno + 1 if documented else 0)


def print_imports(package: Path, files: list[Path]) -> None:
    """Rooms, arrows between them, their layers, and circles."""
    names = {".".join(path.relative_to(package).with_suffix("").parts) for path in files}
    modules = {name: imports_of(package, name, names) for name in sorted(names)}
    rooms: dict[str, set[str]] = {room(name): set() for name in names}
    for name, imported in modules.items():
        rooms[room(name)] |= {room(other) for other in imported} - {room(name)}
    for title, graph in (("rooms", rooms), ("modules", modules)):
        groups = circles(graph)
        layers = layers_of(graph, groups)
        arrows = sum(map(len, graph.values()))
        print(f"{len(graph)} {title} in {max(layers.values()) + 1} layers with {arrows} arrows")
        for group in groups:
            if len(group) > 1:
                print(f"  circle: {', '.join(sorted(group))}")
        if graph is rooms:
            for layer in sorted(set(layers.values())):
                print(f"  {layer}: {', '.join(sorted(name for name in graph if layers[name] == layer))}")


def room(module: str) -> str:
    """The folder of a module, or the module itself at the top level."""
    return module.partition(".")[0]


def imports_of(package: Path, name: str, names: set[str]) -> set[str]:
    """Modules of the package that a module imports, also inside functions."""
    here, found = name.split("."), set()
    path = package.joinpath(*here).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) - node.level], *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                full = ".".join([*base, alias.name])
                found.add(full if full in names else ".".join(base))
    return (found & names) - {name}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components: groups of names that import each other, directly or through others."""
    reach = {name: reachable(graph, name) for name in graph}
    groups: list[set[str]] = []
    for name in sorted(graph):
        if not any(name in group for group in groups):
            groups.append({name} | {other for other in reach[name] if name in reach[other]})
    return groups


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All names that a name imports, directly or through others."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def layers_of(graph: dict[str, set[str]], groups: list[set[str]]) -> dict[str, int]:
    """Name -> layer, 0 for one that imports no other group."""
    home = {name: k for k, group in enumerate(groups) for name in group}
    found: dict[int, int] = {}

    def layer(k: int) -> int:
        if k not in found:
            below = {home[other] for name in groups[k] for other in graph[name]} - {k}
            found[k] = 1 + max(map(layer, below), default=-1)
        return found[k]

    return {name: layer(home[name]) for name in graph}


if __name__ == "__main__":
    main()
