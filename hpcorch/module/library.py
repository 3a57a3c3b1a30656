"""Where the compiled server module is, and how it is compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hpcorch import __version__, shell
from hpcorch.errors import InputError, StorageError
from hpcorch.shell import Command

_PACKAGE = Path(__file__).parent
_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")
_COMPILE_SECONDS = 300.0


def find_module(environ: Mapping[str, str]) -> Path | None:
    """Return the compiled module, None if there is none.

    It is $HPCORCH_MODULE, or was compiled at installation, or by `hpcorch module build`.
    Raises InputError when HPCORCH_MODULE names a file that cannot be read.
    """
    named = environ.get("HPCORCH_MODULE")
    if named:
        if not os.access(named, os.R_OK):
            raise InputError(f"HPCORCH_MODULE is {named!r}: there is no such readable file")
        return Path(named).absolute()
    built = [*_PACKAGE.glob("server_module*.so"), user_module(environ)]
    return next((path for path in built if path.is_file()), None)


def user_module(environ: Mapping[str, str]) -> Path:
    """Return where `hpcorch module build` puts it; another version has a file of its own."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache, "hpcorch", f"server_module-{__version__}.so")


def build_module(target: Path, environ: Mapping[str, str]) -> None:
    """Compile the module to `target`, which is replaced as a whole.

    $CC is the compiler, else cc, gcc or clang. Raises InputError without one or when it fails.
    """
    compiler = next(
        (
            found
            for name in (environ.get("CC"), *_COMPILERS)
            if name and (found := shutil.which(name, path=environ.get("PATH")))
        ),
        None,
    )
    if compiler is None:
        raise InputError("there is no C compiler: none of cc, gcc, clang is in PATH", "set CC")
    sources = sorted(str(path) for path in (_PACKAGE / "src").glob("*.c"))
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        words = (compiler, *_FLAGS, "-o", str(unfinished), *sources)
        result = shell.run(Command(words, timeout=_COMPILE_SECONDS))
        if result.code:
            raise InputError(f"{compiler} cannot compile the module: {result.err.strip()[-2000:]}")
        unfinished.replace(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
