"""The code as a plan: which module imports which, and how large the functions are."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def modules(root: Path, packages: tuple[str, ...]) -> dict[str, ast.Module]:
    """Read the modules of some packages by their dotted name; doors (`__main__`) are left out."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for package in packages
        for path in sorted((root / package).rglob("*.py"))
        if path.name != "__main__.py"
    }


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Say which modules each module imports: at its top, inside a function or for its types alone."""
    return {name: set(_imported(tree, trees)) - {name} for name, tree in trees.items()}


def _imported(tree: ast.Module, trees: dict[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in trees)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name of {node.module}"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in trees or node.module in trees:
                    yield inner if inner in trees else str(node.module)


@dataclass(frozen=True)
class Function:
    """A function: where it is, how many parameters can be given by position, and its lines without the docstring."""

    place: str
    positional: int
    lines: int


def functions(trees: dict[str, ast.Module]) -> Iterator[Function]:
    """Go through every function and method."""
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]]
                first = node.body[0]
                is_docstring = isinstance(first, ast.Expr) and ast.get_docstring(node) is not None
                docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
                positional = len([name for name in names if name not in ("self", "cls")])
                yield Function(f"{module}.{node.name}", positional, lines)
