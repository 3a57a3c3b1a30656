"""Python functions as text: how one travels to a worker."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from hpcorch.client import model_checks as check
from hpcorch.errors import InputError, InputTypeError

_NUMPY = {"np", "numpy"}


def function_source(function: Callable[..., Any], language: str = "") -> tuple[str, str]:
    """Return a function's source and its language, TORCHSCRIPT or PYTHON.

    Without a `language` it is Python for a function that names numpy and not torch, else
    TorchScript. Raises InputTypeError for what is no plain function, InputError when there is no
    source.
    """
    wanted = check.language(language) if language else ""
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise InputTypeError(f"function is {function!r}: it must be one that `def` has made")
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InputError(
            f"function is {function.__name__}, whose source is nowhere: {error}",
            hint="one typed into an interpreter has none: put it in a file, or use set_script",
        ) from error
    return _told(function.__name__, source, wanted)


def source_in(text: str, name: str, language: str = "") -> tuple[str, str]:
    """Return the source and language of the function `name` of a file with this text.

    The file is not run; `language` as in function_source. Raises InputError when there is no such
    function at its top.
    """
    wanted = check.language(language) if language else ""
    try:
        top = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"function is {name}, whose file is not valid Python: {error}") from error
    for item in top:
        if isinstance(item, ast.FunctionDef) and item.name == name:
            first = min([item.lineno, *(mark.lineno for mark in item.decorator_list)])
            lines = text.splitlines(keepends=True)[first - 1 : item.end_lineno]
            return _told(name, "".join(lines), wanted)
    raise InputError(f"function is {name}: its file defines no such function")


def _told(name: str, source: str, wanted: str) -> tuple[str, str]:
    try:
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    except SyntaxError as error:
        raise InputError(
            f"function is {name}, whose source cannot be taken out of its file"
        ) from error
    # `data.max(1)[0]` is something else for each: what says nothing is taken as in SmartRedis.
    told = "PYTHON" if names & _NUMPY and "torch" not in names else "TORCHSCRIPT"
    if (wanted or told) == "PYTHON":
        return source, "PYTHON"
    # TorchScript takes a type checker's remarks for types of its own.
    return re.sub(r"#\s*type:\s*ignore.*", "", source), "TORCHSCRIPT"
