"""Habits that hold in every module of the product, read from its syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted([*(ROOT / "medfuse").rglob("*.py"), *(ROOT / "apps").rglob("*.py")])

BANNED_CALLS = {
    "print": "log, or echo in medfuse/cli",
    "eval": "a config names parts and never runs code",
    "exec": "a config names parts and never runs code",
    "torch.load": "weights are safetensors; nothing is unpickled",
    "yaml.load": "use medfuse.config.yaml_text",
    "yaml.unsafe_load": "use medfuse.config.yaml_text",
    "yaml.full_load": "use medfuse.config.yaml_text",
    "os.system": "run programs by subprocess with a list",
}
BANNED_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
LONGEST_MODULE = 500
LONGEST_FUNCTION = 45


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def offences(tree: ast.Module) -> Iterator[str]:
    """What a module does that the product does not do."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call) and dotted(node.func) in BANNED_CALLS:
            yield f"line {line}: {dotted(node.func)}(): {BANNED_CALLS[dotted(node.func)]}"
        if isinstance(node, ast.Call) and any(word.arg == "allow_pickle" for word in node.keywords):
            yield f"line {line}: allow_pickle: nothing is unpickled"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if {name.split(".")[0] for name in names} & BANNED_IMPORTS:
                yield f"line {line}: imports {names[0]}: nothing is unpickled"
        if isinstance(node, ast.Assert):
            yield f"line {line}: assert vanishes under -O; raise an error of medfuse.errors"
        if isinstance(node, ast.ExceptHandler) and swallows_everything(node):
            yield f"line {line}: catches everything; name the errors"


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes any exception and does not raise it again after tidying up."""
    broad = handler.type is None or dotted(handler.type) in {"Exception", "BaseException"}
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def public_without_docstring(tree: ast.Module) -> Iterator[str]:
    """The public functions, classes and methods of a module that say nothing about themselves."""
    if ast.get_docstring(tree) is None:
        yield "the module"
    holders: list[tuple[str, ast.Module | ast.ClassDef]] = [("", tree)]
    while holders:
        prefix, holder = holders.pop()
        for node in holder.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None and not is_override(node):
                yield f"{prefix}{node.name} (line {node.lineno})"
            if isinstance(node, ast.ClassDef):
                holders.append((f"{prefix}{node.name}.", node))


def is_override(node: ast.AST) -> bool:
    """Whether the docstring stands elsewhere: an overload, a setter, or a method marked with `typing.override`."""
    decorators = getattr(node, "decorator_list", [])
    return any(dotted(one).split(".")[-1] in {"overload", "setter", "override"} for one in decorators)


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_a_module_keeps_the_habits(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(offences(tree)) == []
    assert list(public_without_docstring(tree)) == []


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_MODULE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert {f.name: n for f in functions if (n := lines_of_code(f)) > LONGEST_FUNCTION} == {}


def lines_of_code(function: ast.FunctionDef) -> int:
    """The lines of a function from its first statement after the docstring to its end."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "eval('1')",
        "torch.load('x')",
        "yaml.load('x')",
        "import pickle",
        "from joblib import dump",
        "np.load('x', allow_pickle=False)",
        "assert True",
        "try:\n    f()\nexcept Exception:\n    g()",
        "try:\n    f()\nexcept:\n    g()",
    ],
)
def test_the_check_sees_an_offence(source: str) -> None:
    assert len(list(offences(ast.parse(source)))) == 1


def test_tidying_up_before_raising_again_is_no_offence() -> None:
    assert list(offences(ast.parse("try:\n    f()\nexcept BaseException:\n    g()\n    raise"))) == []


def test_the_check_sees_a_missing_docstring() -> None:
    source = '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): ...\n    def _g(self): ...\ndef h(): ...\n'
    assert sorted(public_without_docstring(ast.parse(source))) == ["A.f (line 4)", "h (line 6)"]
