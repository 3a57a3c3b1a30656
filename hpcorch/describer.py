"""What an experiment consists of: descriptions, of which no two share a name or a directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hpcorch.describe import check
from hpcorch.describe.container import Container
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.orchestrator import DEFAULT_IDENTIFIER, Orchestrator
from hpcorch.describe.settings import BatchSettings, RunSettings
from hpcorch.describe.strategies import Strategy, Value
from hpcorch.describe.workers import Workers
from hpcorch.roster import Roster


class Describer:
    """Makes the descriptions of one experiment, whose directory is `exp_path`."""

    def __init__(self, exp_path: Path) -> None:
        self._roster = Roster(exp_path)

    def create_database(
        self,
        port: int = 6379,
        path: str | None = None,
        db_nodes: int = 1,
        batch: bool | None = None,
        hosts: str | Sequence[str] | None = None,
        run_command: str = "auto",
        interface: str | Sequence[str] | None = None,
        account: str | None = None,
        time: str | None = None,
        queue: str | None = None,
        single_cmd: bool | None = None,
        db_identifier: str = DEFAULT_IDENTIFIER,
        security: str = "password",
        threads: int = 1,
        maxmemory: str | None = None,
        module_paths: Sequence[str] = (),
        ai_commands: bool | None = None,
        layout: str = "array",
        shards_per_host: int = 1,
        db_cpus: int | None = None,
        custom_pinning: Iterable[int | Iterable[int]] | None = None,
        checkpoint: bool = False,
        restore: str | None = None,
        workers: Workers | int | None = None,
    ) -> Orchestrator:
        """Describe a database of `db_nodes` shards; the arguments are those of Orchestrator.

        Raises InputError when the identifier is in use in this experiment.
        """
        database = Orchestrator(
            db_identifier=db_identifier,
            db_nodes=db_nodes,
            port=port,
            interface=interface,
            path=path,
            security=security,
            threads=threads,
            maxmemory=maxmemory,
            module_paths=module_paths,
            ai_commands=ai_commands,
            layout=layout,
            batch_settings=BatchSettings(time=time, queue=queue, account=account),
            shards_per_host=shards_per_host,
            db_cpus=db_cpus,
            custom_pinning=custom_pinning,
            checkpoint=checkpoint,
            restore=restore,
            workers=workers,
            batch=batch,
            run_command=run_command,
            single_cmd=single_cmd,
        )
        if hosts is not None:
            database.set_hosts(hosts)
        self._roster.add(database)
        return database

    def create_model(
        self,
        name: str,
        run_settings: RunSettings,
        params: Mapping[str, str | int | float] | None = None,
        path: str | None = None,
        enable_key_prefixing: bool = False,
        batch_settings: BatchSettings | None = None,
    ) -> Model:
        """Describe a program to run; raises InputError when the name is in use."""
        model = Model(name, run_settings, params, path, batch_settings, enable_key_prefixing)
        self._roster.add(model)
        return model

    def create_ensemble(
        self,
        name: str,
        params: Mapping[str, Value | Iterable[Value]] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        replicas: int | None = None,
        perm_strategy: str | Strategy = "all_perm",
        path: str | None = None,
        params_as_args: Sequence[str] | None = None,
        n_models: int | None = None,
        seed: int | None = None,
        max_running: int | None = None,
    ) -> Ensemble:
        """Describe programs that run as one job array; the arguments are those of Ensemble.

        Raises InputError when the name is in use.
        """
        ensemble = Ensemble(
            name,
            params,
            batch_settings,
            run_settings,
            replicas,
            perm_strategy,
            path,
            params_as_args,
            n_models,
            seed,
            max_running,
        )
        self._roster.add(ensemble)
        return ensemble

    def create_run_settings(
        self,
        exe: str,
        exe_args: check.Words | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, str | int | float | None] | None = None,
        env_vars: Mapping[str, check.Variable] | None = None,
        container: Container | None = None,
    ) -> RunSettings:
        """Describe how a program is run; the arguments are those of RunSettings."""
        return RunSettings(exe, exe_args, run_command, run_args, env_vars, container)

    def create_batch_settings(
        self,
        nodes: int | None = None,
        time: str = "",
        queue: str = "",
        account: str = "",
        batch_args: Mapping[str, str | int | None] | None = None,
    ) -> BatchSettings:
        """Describe what to ask a batch system for; the arguments are those of BatchSettings."""
        return BatchSettings(nodes, time, queue, account, batch_args)
