"""`hpcorch start`: starts what a spec file describes, and waits for its programs to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.cli import output, status
from hpcorch.cli.completers import complete, spec_files, spec_names
from hpcorch.cli.render_spec import chosen
from hpcorch.cli.runs import Watcher, latest
from hpcorch.errors import InputError, NotActive
from hpcorch.experiment import Experiment
from hpcorch.journal import Journal, Run
from hpcorch.roster import Entity
from hpcorch.schedulers.base import TaskState
from hpcorch.snapshots import RunSnapshot
from hpcorch.spec import Spec, read_spec

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_EPILOG = """\
examples:
  hpcorch start experiment.toml             wait for the programs to end
  hpcorch start experiment.toml --detach    submit everything and return
  hpcorch start experiment.toml sim --stop  only sim; then end the databases

Databases start first, and go on when the programs have ended, unless --stop is said. Ctrl-C stops
what this command has started. The exit code is 1 when a program did not end well.
"""


def arguments(parser: ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.epilog = _EPILOG
    spec = parser.add_argument("spec", metavar="FILE.toml", help="the spec file, see docs/spec.md")
    names = parser.add_argument(
        "names",
        nargs="*",
        default=[],
        metavar="NAME",
        help="only these entities; databases that run are used",
    )
    complete(spec, spec_files)
    complete(names, spec_names)
    parser.add_argument(
        "--detach",
        action="store_true",
        help="submit everything at once and return; programs wait for their databases",
    )
    parser.add_argument(
        "--stop", action="store_true", help="end the databases when the programs have ended"
    )
    parser.add_argument(
        "--queue-timeout",
        type=float,
        metavar="SECONDS",
        help="give up when a database is still queued then",
    )
    parser.add_argument(
        "--only",
        choices=("failed", "unfinished"),
        help="of ensembles that ran: only the members that did not end well",
    )
    parser.add_argument(
        "--scheduler", metavar="NAME", help="instead of the launcher that the file names"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object at the end")


def run(args: Namespace) -> int:
    """Start, wait and report."""
    if args.detach and args.stop:
        raise InputError("--detach waits for nothing and --stop for the end", "leave one out")
    spec = read_spec(args.spec)
    entities = chosen(spec, args.names)
    output.messages_aside(spec.name)
    watcher = Watcher(patient=False, where=spec.exp_path, near_only=True)
    before = watcher.snapshot(latest(_runs(spec)))
    if args.only is None:
        _refuse_twice(spec, entities, before)
    launcher = args.scheduler or spec.launcher
    experiment = Experiment(spec.name, spec.exp_path, launcher, spec.site)
    _reconnect(spec, experiment, entities, before)
    experiment.start(
        *entities,
        wait=not args.detach,
        queue_timeout=args.queue_timeout,
        only=args.only,
    )
    if args.stop:
        experiment.stop()
    shots = watcher.snapshot(latest(_runs(spec)))
    _report(args, spec, shots, watcher)
    names = {entity.name for entity in entities}
    mine = [shot for shot in shots if shot.run.entity in names and not shot.run.is_service]
    return 0 if args.detach or all(it.state is TaskState.COMPLETED for it in mine) else 1


def _runs(spec: Spec) -> list[Run]:
    return Journal(Path(spec.exp_path)).runs()


def _is_alive(shot: RunSnapshot) -> bool:
    """Whether a job of the run lives; what was never known to be accepted, start looks up again."""
    return bool(shot.run.refs({task.index for task in shot.tasks if not task.state.terminal}))


def _refuse_twice(spec: Spec, entities: Sequence[Entity], before: Sequence[RunSnapshot]) -> None:
    """Refuse what is running already, and say what can be done instead."""
    names = {entity.name for entity in entities}
    alive = [it for it in before if it.run.entity in names and _is_alive(it)]
    if not alive:
        return
    states = ", ".join(f"{shot.run.entity} is {shot.state}" for shot in alive)
    where = output.here(spec.exp_path)
    look, stop = (output.command("hpcorch", verb, where) for verb in ("status", "stop"))
    hint = f"look: {look}; end it: {stop}"
    running = {shot.run.entity for shot in alive}
    rest = [entity.name for entity in entities if entity.name not in running]
    if rest and all(shot.run.is_service for shot in alive):
        hint += f"; use it: {output.command('hpcorch', 'start', spec.file, *rest)}"
    raise InputError(f"{spec.file} was started already: {states}", hint)


def _reconnect(
    spec: Spec, experiment: Experiment, entities: Sequence[Entity], before: Sequence[RunSnapshot]
) -> None:
    """Let programs use the databases of the spec that run and are not started now."""
    others = {database.name for database in spec.databases} - {item.name for item in entities}
    for shot in before:
        if shot.run.entity in others and _is_alive(shot):
            try:
                experiment.reconnect_orchestrator(shot.run.directory)
            except NotActive as error:
                raise NotActive(
                    f"database {shot.run.entity} was started and does not answer yet",
                    f"{_status(spec, '--watch')} tells when it does",
                ) from error


def _report(args: Namespace, spec: Spec, shots: Sequence[RunSnapshot], watcher: Watcher) -> None:
    """Print how everything stands, and what to type next."""
    if args.json:
        output.print_json(
            directory=spec.exp_path,
            runs=[status.described(shot, status.service(shot)) for shot in shots],
        )
        return
    where = output.here(spec.exp_path)
    status.show(where, shots, watcher)
    if args.detach:
        output.remark(f"next: {_status(spec, '--watch')}")
    elif any(not shot.state.terminal for shot in shots):
        output.remark(f"next: {output.command('hpcorch', 'stop', where)}")


def _status(spec: Spec, *words: str) -> str:
    return output.command("hpcorch", "status", output.here(spec.exp_path), *words)
