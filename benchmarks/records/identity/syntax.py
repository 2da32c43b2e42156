"""What a Python file does, as a hash: its syntax tree without what is written for people.

Comments, docstrings and other bare strings, the arguments ``title``, ``help`` and ``doc``, and the
text of raised errors decide no number, so that a corrected sentence leaves every hash as it is.
The same reading of a file finds what it imports, which classes it defines and which strings it
holds. Nothing is imported.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SHOWN_ARGUMENTS = ("title", "help", "doc")
"""Keyword arguments that are shown to people, where they are written as text."""

REGISTRIES = ("METHODS", "TASKS")
"""Variables that hold what methods and tasks are composed of by name."""

_NO_MEANING = ("ctx", "kind", "type_comment", "type_ignores")
_UNREADABLE = (SyntaxError, ValueError, RecursionError)


@dataclass(frozen=True, order=True)
class Import:
    """One imported name.

    Attributes:
        level: dots in front: 0 for an absolute import.
        module: what follows them; may be empty.
        name: what is taken from the module; empty for the module itself.
    """

    level: int
    module: str
    name: str = ""


@dataclass(frozen=True)
class ClassSource:
    """A class as its file writes it.

    Attributes:
        bases: dotted names; a base that is no name is left out.
        registered: the names given to ``register`` in its decorators.
        sources: its attribute ``sources``; None where it has none.
        readable: False if ``sources`` is not written as a literal.
    """

    bases: tuple[str, ...]
    registered: frozenset[str]
    sources: tuple[str, ...] | None
    readable: bool = True


@dataclass(frozen=True)
class SourceFile:
    """What one reading of a file found.

    Attributes:
        digest: SHA-256 of the syntax tree, or of the bytes where they are not Python.
        imports: everything that is imported, inside of functions too; not for type checking alone.
        dynamic: whether a module is imported by a name that is computed.
        bound: names of the file to what they are imported from.
        classes: by name.
        strings: the strings that take part in the digest.
        lookups: names that are looked up in a registry: ``METHODS.get("replacement")``.
    """

    digest: str
    imports: frozenset[Import] = frozenset()
    dynamic: bool = False
    bound: Mapping[str, Import] = field(default_factory=dict)
    classes: Mapping[str, ClassSource] = field(default_factory=dict)
    strings: frozenset[str] = frozenset()
    lookups: frozenset[str] = frozenset()


_read: dict[tuple[str, int, int], SourceFile] = {}


def read_source(path: Path) -> SourceFile:
    """Read a file; once in a process, unless it changes.

    Raises:
        OSError: it cannot be read.
    """
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns)
    if key not in _read:
        _read[key] = parse_source(path.read_bytes())
    return _read[key]


def parse_source(content: bytes) -> SourceFile:
    """What :func:`read_source` finds in a file of this content."""
    try:
        tree = ast.parse(content)
        canonical = _Canonical()
        text = canonical.text(tree)
    except _UNREADABLE:
        return SourceFile(hashlib.sha256(content).hexdigest())
    imports = _Imports()
    imports.visit(tree)
    return SourceFile(
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        frozenset(imports.found),
        imports.dynamic,
        imports.bound,
        {node.name: _class(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)},
        frozenset(canonical.strings),
        frozenset(imports.lookups),
    )


class _Canonical:
    """Writes a tree as text that is the same in all versions of Python, as far as trees are.

    ``ast.dump`` is not: it began to leave out empty fields in 3.13, and each version adds some.
    """

    def __init__(self) -> None:
        self.strings: set[str] = set()

    def text(self, value: object) -> str:
        """A node, a list of nodes, or a plain value."""
        if isinstance(value, list):
            return "[" + ",".join(self.text(each) for each in value if not _silent(each)) + "]"
        if not isinstance(value, ast.AST):
            return repr(value)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            self.strings.add(value.value)
        parts = [f"{name}={self.text(part)}" for name, part in self._fields(value)]
        return f"{type(value).__name__}({','.join(parts)})"

    def _fields(self, node: ast.AST) -> Iterator[tuple[str, object]]:
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.Call) and name == "keywords" and _called(node) != "dict":
                value = [each for each in node.keywords if not _shown(each)]
            elif isinstance(node, ast.Raise) and isinstance(value, ast.Call) and _is_error(value):
                value = _without_text(value)
            elif isinstance(node, ast.JoinedStr):  # Python 3.12 puts empty texts in between
                value = [each for each in node.values if getattr(each, "value", None) != ""]
            elif isinstance(node, ast.Assert) and name == "msg" and _is_text(node.msg):
                continue
            if value is None or name in _NO_MEANING:
                continue
            if isinstance(value, list) and all(map(_silent, value)):
                continue
            yield name, value


def _silent(node: object) -> bool:
    """Whether a statement does nothing: a bare string, or ``pass``."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _shown(keyword: ast.keyword) -> bool:
    return keyword.arg in SHOWN_ARGUMENTS and _is_text(keyword.value)


def _called(call: ast.Call) -> str:
    """The last part of the name that is called."""
    return _dotted(call.func).rpartition(".")[2]


def _is_error(call: ast.Call) -> bool:
    """Whether the text of what is raised is for people: other exceptions may carry values."""
    return _called(call).endswith(("Error", "Exception", "Warning"))


def _without_text(call: ast.Call) -> ast.Call:
    """A raised error without its sentence: its class, and values that are no text, stay."""
    return ast.Call(
        func=call.func,
        args=[each for each in call.args if not _is_text(each)],
        keywords=[each for each in call.keywords if not _is_text(each.value)],
    )


def _is_text(node: ast.AST | None) -> bool:
    """Whether an expression is written as a text, values in it or not."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.BinOp):
        joined = isinstance(node.op, ast.Add) and _is_text(node.right)
        return joined or (isinstance(node.op, ast.Add | ast.Mod) and _is_text(node.left))
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.Call):  # "{}".format(...), ", ".join(...)
        return isinstance(node.func, ast.Attribute) and _is_text(node.func.value)
    return isinstance(node, ast.JoinedStr)


class _Imports(ast.NodeVisitor):
    """Finds imports, and what is looked up by name."""

    def __init__(self) -> None:
        self.found: set[Import] = set()
        self.bound: dict[str, Import] = {}
        self.lookups: set[str] = set()
        self.dynamic = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            whole = Import(0, alias.name)
            self.found.add(whole)
            first = alias.name.partition(".")[0]
            self.bound[alias.asname or first] = whole if alias.asname else Import(0, first)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            one = Import(node.level, node.module or "", alias.name)
            self.found.add(one)
            self.bound[alias.asname or alias.name] = one

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        for child in node.orelse if name == "TYPE_CHECKING" else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        first = node.args[0] if node.args else None
        literal = first.value if isinstance(first, ast.Constant) else None
        if name in ("import_module", "__import__"):
            if isinstance(literal, str):
                module = literal.lstrip(".")
                self.found.add(Import(len(literal) - len(module), module))
            else:
                self.dynamic = True
        elif name in ("get", "find") and isinstance(literal, str):
            if isinstance(called, ast.Attribute) and _dotted(called.value).endswith(REGISTRIES):
                self.lookups.add(literal)
        self.generic_visit(node)


def _class(node: ast.ClassDef) -> ClassSource:
    registered = [
        argument.value
        for call in node.decorator_list
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "register"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
    bases = [name for name in map(_dotted, node.bases) if name]
    sources, readable = None, True
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = getattr(statement, "value", None)
        if value is None or "sources" not in [getattr(target, "id", "") for target in targets]:
            continue
        try:
            found = ast.literal_eval(value)
            sources = tuple(str(each) for each in found)
            readable = not isinstance(found, str)
        except (ValueError, TypeError):
            readable = False
    return ClassSource(tuple(bases), frozenset(registered), sources, readable)


def _dotted(node: ast.AST) -> str:
    """``package.module.Class``; empty for anything but a dotted name."""
    if isinstance(node, ast.Subscript):  # a generic base
        return _dotted(node.value)
    if isinstance(node, ast.Attribute):
        outer = _dotted(node.value)
        return f"{outer}.{node.attr}" if outer else ""
    return node.id if isinstance(node, ast.Name) else ""
