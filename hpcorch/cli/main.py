"""The command `hpcorch`: finds the verb, runs it, and turns every error into one sentence.

A verb is a module of this package with `arguments(parser)` and `run(args) -> exit code`. Only the
chosen one is imported, so that help costs next to nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from hpcorch import __version__
from hpcorch.errors import (
    HpcorchError,
    InputError,
    NotActive,
    RunNotFound,
    SchedulerError,
    ServerNotFound,
    SiteError,
    StartFailed,
)

VERBS = {
    "demo": "run the example: two databases and two programs that use them",
    "render": "print the job script of a database, a program or an ensemble",
    "start": "start what a spec file describes, and wait for its programs",
    "status": "show the runs in a directory and how they stand",
    "logs": "show what runs have printed",
    "stop": "end the runs in a directory",
    "site": "show the site profile, and check that jobs can be made and run with it",
    "config": "show the settings in effect and where they come from",
    "template": "show the job script templates, and check what a site has made of them",
    "module": "find, compile and try the server module for SmartRedis programs",
    "doctor": "check this machine and say how to cure what is wrong",
    "completion": "print what a shell needs to complete verbs and options",
}

_EXIT_CODES: tuple[tuple[tuple[type[HpcorchError], ...], int], ...] = (
    ((InputError, SiteError), 2),
    ((RunNotFound,), 3),
    ((SchedulerError, StartFailed, NotActive, ServerNotFound), 4),
)
EPILOG = """\
exit codes: 0 done, 1 it failed, 2 bad input, 3 nothing found, 4 scheduler or server trouble,
130 interrupted. `hpcorch VERB --help` shows what a verb takes.

examples:
  hpcorch start experiment.toml
  hpcorch status my-experiment --watch
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are reported like all others, and that never colours."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # A long option's short forms would become a promise.
        super().__init__(allow_abbrev=False, **options)
        self.color = False
        self._mixing = False

    def parse_known_args(  # type: ignore[override]  # the base class has overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Let names stand after options too, as in `start FILE.toml --detach NAME`."""
        # The mixing call comes back here twice.
        if self._mixing or self._subparsers is not None or "_ARGCOMPLETE" in os.environ:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        """Raise InputError instead of printing the usage and exiting."""
        raise InputError(message, f"{self.prog} --help shows what is allowed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `argv` is without the program's name."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter gets its code; a traceback helps nobody.
        getattr(stream, "reconfigure", _ignore)(errors="backslashreplace")
    try:
        code = _guarded(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough; without this, Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _open_what_is_closed() -> None:
    """Let output go nowhere for which the caller has closed its descriptor."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))


def _ignore(**_: object) -> None:
    """Do nothing: this stream has no encoding."""


def _guarded(words: Sequence[str]) -> int:
    """Run the verb; errors become a sentence, a hint and a code."""
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    try:
        return _dispatch(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("hpcorch: interrupted", file=sys.stderr)
        return 130
    except HpcorchError as error:
        _complain(error.message, error.hint)
        return exit_code(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if not error.filename and _here_is_gone():
            _complain("the directory that you are in is gone", "cd to one that is there")
        else:
            _complain(f"{where}{error.strerror or error}", "")
        return 1
    except Exception as error:
        hint = "this is a fault of hpcorch: HPCORCH_LOG_LEVEL=debug shows where it happened"
        _complain(f"unexpected {type(error).__name__}: {error}", hint)
        return 1


def _here_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - help and errors need no pathlib
    except FileNotFoundError:
        return True
    return False


def _complete() -> None:
    """Answer the shell, which asks with a variable and a command line of its own, and end."""
    import argcomplete

    argcomplete.autocomplete(_parser(VERBS), always_complete_options=False)


def exit_code(error: HpcorchError) -> int:
    """Return the exit code that stands for this kind of error."""
    return next((code for kinds, code in _EXIT_CODES if isinstance(error, kinds)), 1)


def _complain(message: str, hint: str) -> None:
    if os.environ.get("HPCORCH_LOG_LEVEL", "").lower() == "debug":
        import traceback

        traceback.print_exc()
    print(f"hpcorch: error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def _dispatch(words: Sequence[str]) -> int:
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb and verb not in VERBS:
        from hpcorch.nearest import suggestion

        raise InputError(f"there is no verb {verb!r}", suggestion(verb, VERBS, "the verbs are "))
    program: list[str] = []
    if verb == "render":
        # What follows -- is somebody else's command line: argparse must not look at it.
        from hpcorch.cli.render import split

        words, program = split(words)
    parser = _parser([verb])
    args, unknown = parser.parse_known_args(words)
    if unknown:
        # The verb's own help tells what it takes.
        asked = f"hpcorch {verb}".strip()
        raise InputError(
            f"unrecognized arguments: {' '.join(unknown)}", f"{asked} --help shows what is allowed"
        )
    if not args.verb:
        parser.error("no verb was given")
    args.program = program
    return int(args.run(args))


def _parser(chosen: Collection[str]) -> Parser:
    """Return the parser; only the chosen verbs' own arguments are in it."""
    parser = Parser(
        prog="hpcorch",
        description="Starts databases and programs as jobs, watches and stops them.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"hpcorch {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=_sentence(summary))
        if name in chosen:
            module = importlib.import_module(f"hpcorch.cli.{name}")
            module.arguments(verb)
            verb.set_defaults(run=module.run)
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
