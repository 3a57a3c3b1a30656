"""Runs the blocks of one page, one after the other, as a reader would."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hpcorch.render.loader import CORE_PREFIX
from tests.docs.blocks import SLURM, Block, commands
from tests.docs.masks import agrees, masked
from tests.helpers import tool

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What a page speaks of and does not show: files that its readers have.
GIVEN = Path(__file__).parent / "given"
# For one block; the machine may be busy.
DEADLINE = 100
# A reader looks again when there is nothing to be seen yet.
PATIENCE = 60
_LOOKS = ("tail ", "hpcorch logs ", "hpcorch status ")
# What a driver tells of its steps; pages show what their code prints.
_LOG_LINE = re.compile(r"^\d\d:\d\d:\d\d \S+ \S+\[\d+\] (?:INFO|WARNING) .*\n", re.MULTILINE)


def reader(page: Path, folder: Path, path: str = "") -> dict[str, str]:
    """Put the files that the page's readers have into `folder`; return their PATH.

    It has this Python and its hpcorch, and else what is in `path`, or on the machine.
    """
    if (given := GIVEN / page.stem).is_dir():
        shutil.copytree(given, folder, dirs_exist_ok=True)
    programs = folder / ".bin"
    programs.mkdir()
    beside = Path(sys.executable).parent
    for name, program in (("python3", sys.executable), ("hpcorch", str(beside / "hpcorch"))):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(program)} "$@"\n')
        (programs / name).chmod(0o755)
    others = [
        item for item in (path or os.environ["PATH"]).split(os.pathsep) if item != str(beside)
    ]
    return {"PATH": os.pathsep.join([str(programs), *others])}


@dataclass
class Session:
    """A reader's terminal and Python, in `folder`."""

    folder: Path
    env: dict[str, str]
    # What makes a command of one that is to be run on another machine.
    enter: Callable[[list[str]], list[str]] = list
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def follow(self, block: Block) -> None:
        """Do what the block and the comment above it say."""
        {
            "": self.run,
            "not run": self._check_syntax,
            **dict.fromkeys(SLURM, self._check_syntax),
            "file": self._write,
            "prints": self._compare_python,
            "output of": self._compare_command,
        }[block.note](block)

    def run(self, block: Block) -> None:
        """Run the block, whatever the comment above it says."""
        actions: dict[str, Callable[[Block], None]] = {
            "python": self._python,
            "bash": self._bash,
            "console": self._console,
            "jinja": self._jinja,
            "toml": self._check_syntax,
            "text": self._check_syntax,
        }
        actions[block.language](block)

    def _check_syntax(self, block: Block) -> None:
        if block.language == "python":
            ast.parse(block.text, block.where)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language in ("bash", "console"):
            shown = block.language == "console"
            script = "".join(c for c, _ in commands(block.text)) if shown else block.text
            done = subprocess.run(
                ["bash", "-n"], input=script, text=True, capture_output=True, check=False
            )
            assert done.returncode == 0, f"{block.where}: {done.stderr}"

    def _write(self, block: Block) -> None:
        path = self.folder / block.detail
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        path.chmod(0o755 if block.text.startswith("#!") else 0o644)

    def _python(self, block: Block) -> None:
        output = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
            for name, value in self.env.items():
                patch.setenv(name, value)
            # The lines of the page are those of its tracebacks.
            above = "\n" * int(block.where.rpartition(":")[2])
            exec(compile(above + block.text, block.where, "exec"), self.names)
        self.printed += output.getvalue()

    def _compare_python(self, block: Block) -> None:
        self._compare(block.where, block.text, _LOG_LINE.sub("", self.printed))
        self.printed = ""

    def _bash(self, block: Block) -> None:
        code, printed = self._shell(block.text, "-eo", "pipefail")
        assert code == 0, f"{block.where}: the commands ended with {code}:\n{printed}"

    def _console(self, block: Block) -> None:
        for command, shown in commands(block.text):
            _, printed = self._shell(command)
            end = time.monotonic() + PATIENCE
            while (
                command.startswith(_LOOKS)
                and not self._agrees(shown, printed)
                and time.monotonic() < end
            ):
                time.sleep(0.1)
                _, printed = self._shell(command)
            self._compare(f"{block.where}: {command.strip()}", shown, printed)

    def _compare_command(self, block: Block) -> None:
        _, printed = self._shell(f"{block.detail}\n")
        self._compare(block.where, block.text, printed)

    def _compare(self, where: str, shown: str, printed: str) -> None:
        wanted, got = (masked(text, str(self.folder)) for text in (shown, printed))
        assert agrees(wanted, got), f"{where}\n-- shown:\n{wanted}\n-- printed:\n{got}"

    def _agrees(self, shown: str, printed: str) -> bool:
        return agrees(*(masked(text, str(self.folder)) for text in (shown, printed)))

    def _jinja(self, block: Block) -> None:
        """Lint a template, called like the shipped one that it extends; Slurm stands for all."""
        extended = re.search(rf'{{% extends "{CORE_PREFIX}(.*?)" %}}', block.text)
        assert extended, f"{block.where}: it extends no shipped template"
        number = block.where.rpartition(":")[2]
        path = self.folder / f"templates-{number}" / extended[1]
        path.parent.mkdir(parents=True)
        path.write_text(block.text)
        code, printed = self._shell(f"hpcorch template lint --scheduler slurm templates-{number}\n")
        assert code == 0, f"{block.where}: {printed}"

    def _shell(self, script: str, *options: str) -> tuple[int, str]:
        """Run commands; return the exit code and all that they have printed."""
        output = self.folder / ".output"
        after = self.folder / ".env"
        # Jobs in the background keep the file open, unlike a pipe this keeps nobody waiting; what
        # they say later does not come into the next command's output.
        output.unlink(missing_ok=True)
        with output.open("wb") as file:
            done = subprocess.run(
                self.enter(["bash", *options, "-c", f"trap 'env -0 >{after}' EXIT\n{script}"]),
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=DEADLINE,
                check=False,
            )
        pairs = (item.partition("=") for item in after.read_text().split("\0") if item)
        self.env = {name: value for name, _, value in pairs}
        return done.returncode, output.read_text()

    def close(self) -> None:
        """Stop what the page has left running."""
        found = {path.parent.parent for path in self.folder.glob("**/journal.jsonl")}
        found |= {path.parent for path in self.folder.glob("**/job.json")}
        for directory in found:
            subprocess.run(
                self.enter([tool("hpcorch"), "stop", "--grace", "1", str(directory)]),
                env={**os.environ, **self.env},
                capture_output=True,
                timeout=DEADLINE,
                check=False,
            )
