"""Runs the blocks of one page, one after the other, as a reader would."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hpcorch.render.loader import CORE_PREFIX
from tests.docs.blocks import Block, commands
from tests.docs.masks import agrees, masked
from tests.helpers import tool

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# For one block; the machine may be busy.
DEADLINE = 100
_MARK = "\x1e"
# What a driver tells of its steps; pages show what their code prints.
_LOG_LINE = re.compile(r"^\d\d:\d\d:\d\d \S+ \S+\[\d+\] (?:INFO|WARNING) .*\n", re.MULTILINE)


@dataclass
class Session:
    """A reader's terminal and Python, in `folder`."""

    folder: Path
    env: dict[str, str]
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def follow(self, block: Block) -> None:
        """Do what the block and the comment above it say."""
        {
            "": self._run,
            "not run": self._check_syntax,
            "file": self._write,
            "prints": self._compare_python,
            "output of": self._compare_command,
        }[block.note](block)

    def _run(self, block: Block) -> None:
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
        said = commands(block.text)
        marks = [f"{command}printf '{_MARK}'\n" for command, _ in said]
        _, printed = self._shell("".join(marks))
        outputs = printed.split(_MARK)
        assert len(outputs) == len(said) + 1, f"{block.where}: the shell ended early:\n{printed}"
        for (command, shown), output in zip(said, outputs, strict=False):
            self._compare(f"{block.where}: {command.strip()}", shown, output)

    def _compare_command(self, block: Block) -> None:
        _, printed = self._shell(f"{block.detail}\n")
        self._compare(block.where, block.text, printed)

    def _compare(self, where: str, shown: str, printed: str) -> None:
        wanted, got = (masked(text, str(self.folder)) for text in (shown, printed))
        assert agrees(wanted, got), f"{where}\n-- shown:\n{wanted}\n-- printed:\n{got}"

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
        # Jobs in the background keep the file open, unlike a pipe this keeps nobody waiting.
        with output.open("wb") as file:
            done = subprocess.run(
                ["bash", *options, "-c", f"trap 'env -0 >{after}' EXIT\n{script}"],
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
                [tool("hpcorch"), "stop", "--grace", "1", str(directory)],
                env={**os.environ, **self.env},
                capture_output=True,
                timeout=DEADLINE,
                check=False,
            )
