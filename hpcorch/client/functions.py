"""Python functions as text: how one travels to a worker."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from hpcorch.errors import InputError, InputTypeError


def function_source(function: Callable[..., Any]) -> tuple[str, str]:
    """Return a function's source and its language, TORCHSCRIPT or PYTHON.

    Raises InputTypeError for what is no plain function, InputError when there is no source.
    """
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise InputTypeError(f"function is {function!r}: it must be one that `def` has made")
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InputError(
            f"function is {function.__name__}, whose source is nowhere: {error}",
            hint="one typed into an interpreter has none: put it in a file, or use set_script",
        ) from error
    try:
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    except SyntaxError as error:
        raise InputError(
            f"function is {function.__name__}, whose source cannot be taken out of its file"
        ) from error
    if "torch" not in names:
        return source, "PYTHON"
    # TorchScript takes a type checker's remarks for types of its own.
    return re.sub(r"#\s*type:\s*ignore.*", "", source), "TORCHSCRIPT"
