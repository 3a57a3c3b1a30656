"""`hpcorch completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcorch.cli import output

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  eval "$(hpcorch completion bash)"          in ~/.bashrc; the same with zsh in ~/.zshrc
  hpcorch completion fish > ~/.config/fish/completions/hpcorch.fish
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: Namespace) -> int:
    """Print the code that the shell has to run."""
    from argcomplete.shell_integration import shellcode

    output.print_exactly(shellcode(["hpcorch"], shell=args.shell))
    return 0
