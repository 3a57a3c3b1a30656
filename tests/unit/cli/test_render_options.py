"""Every option of `hpcorch render` says what the argument of the Python API says."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcorch import Container, Ensemble, Model, Orchestrator, RunSettings, Workers
from hpcorch.cli import render_database, render_program
from hpcorch.cli.main import main
from hpcorch.describe.settings import BatchSettings
from tests.unit.cli.fakes import refused

LAUNCH = [
    *("--run-command", "srun", "--run-arg", "mpi=pmix", "--run-arg", "label", "--env", "N=4"),
    *("--nodes", "2", "--tasks", "8", "--tasks-per-node", "4", "--cpus-per-task", "2"),
    *("--task-map", "block", "--bind", "0,1", "--verbose-launch", "--broadcast", "/tmp/x"),
    *("--host", "n1", "--host", "n2", "--host-file", "hosts", "--exclude-host", "n3"),
    *("--feature", "gpu", "--memory-per-node", "4000"),
]
BATCH = [
    *("--time", "1:00:00", "--queue", "q", "--account", "a", "--exclusive"),
    *("--batch-arg", "qos=high", "--batch-arg", "requeue", "--preamble", "module load gcc"),
]
BESIDE = [
    *("--db-cpus", "2", "--pin", "0,2-3", "--per", "numa", "--db-identifier", "near"),
    *("--db-port", "7000", "--ifname", "ib0", "--share-cpus", "--db-maxmemory", "3gb"),
    *("--db-security", "open", "--db-debug", "--workers", "2", "--worker-cpus", "4-5"),
    *("--worker-threads", "1"),
]
FILES = ["--copy", "in", "--link", "mesh", "--configure", "a.nml"]


def parsed(kind: str, declare: Callable[[ArgumentParser], None], *words: str) -> Namespace:
    parser = ArgumentParser()
    declare(parser)
    args = parser.parse_args(words)
    args.what, args.path, args.program = kind, None, ["sim", "x"]
    return args


def said(item: Any) -> Any:
    """Return all that a description holds, settings inside it too."""
    if isinstance(item, (list, tuple)):
        return [said(inner) for inner in item]
    if isinstance(item, (RunSettings, BatchSettings, Container, Model, Orchestrator)):
        return {key: said(value) for key, value in vars(item).items()}
    return item


def settings() -> RunSettings:
    made = RunSettings("sim", ["x"], "srun", {"mpi": "pmix", "label": None}, {"N": "4"})
    made.set_nodes(2)
    made.set_tasks(8)
    made.set_tasks_per_node(4)
    made.set_cpus_per_task(2)
    made.set_task_map("block")
    made.set_cpu_bindings([0, 1])
    made.set_verbose_launch(True)
    made.set_broadcast("/tmp/x")
    made.set_hostlist(["n1", "n2"])
    made.set_hostlist_from_file("hosts")
    made.set_excluded_hosts("n3")
    made.set_node_feature("gpu")
    made.set_memory_per_node(4000)
    return made


def batch() -> BatchSettings:
    made = BatchSettings(
        time="1:00:00", queue="q", account="a", batch_args={"qos": "high", "requeue": None}
    )
    made.set_exclusive()
    made.add_preamble("module load gcc")
    return made


def test_a_model(here: Path) -> None:
    words = [*LAUNCH, *BATCH, *FILES, "--param", "dt=0.5", "--params-to-args", "--key-prefix"]
    words += ["--incoming", "air", "--colocate", "uds", *BESIDE]
    words += ["--socket", "/tmp/s", "--socket-permissions", "770"]
    args = parsed("model", render_program.model_arguments, "m", *words)
    expected = Model("m", settings(), {"dt": "0.5"}, None, batch(), enable_key_prefixing=True)
    expected.params_to_args()
    expected.attach_generator_files("in", "mesh", "a.nml")
    expected.colocate_db_uds(
        "/tmp/s",
        0o770,
        2,
        [0, 2, 3],
        debug=True,
        db_identifier="near",
        limit_app_cpus=False,
        ifname="ib0",
        port=7000,
        maxmemory="3gb",
        security="open",
        workers=Workers(2, [4, 5], 1),
        per="numa",
    )
    made = render_program.described_model(args)
    assert made.incoming_names == ["air"]
    made._incoming = []
    assert said(made) == said(expected)


def test_an_ensemble_with_databases_over_tcp(here: Path) -> None:
    words = [*LAUNCH, *BATCH, *FILES, "--param", "dt=1,2", "--replicas", "2", "--no-key-prefix"]
    words += ["--strategy", "random", "--members", "2", "--seed", "7", "--max-running", "3"]
    args = parsed(
        "ensemble", render_program.ensemble_arguments, "e", *words, "--colocate", "tcp", *BESIDE
    )
    params = {"dt": ["1", "2"]}
    expected = Ensemble(
        "e", params, batch(), settings(), 2, "random", n_models=2, seed=7, max_running=3
    )
    expected.disable_key_prefixing()
    for member in expected:
        member.colocate_db_tcp(
            7000,
            "ib0",
            2,
            [0, 2, 3],
            debug=True,
            db_identifier="near",
            limit_app_cpus=False,
            maxmemory="3gb",
            security="open",
            workers=Workers(2, [4, 5], 1),
            per="numa",
        )
    expected.attach_generator_files("in", "mesh", "a.nml", on_node=True)
    made = render_program.described_ensemble(args)
    assert said(list(made)) == said(list(expected))
    assert (said(made.batch), made.max_running) == (said(expected.batch), 3)


def test_a_container(here: Path) -> None:
    words = ["--container", "a.sif", "--container-arg=--nv", "--mount", "/data:/d"]
    words += ["--container-runtime", "singularity"]
    args = parsed("model", render_program.model_arguments, "m", *words)
    made = render_program.described_model(args).run_settings.container
    assert said(made) == said(Container("a.sif", ["--nv"], ["/data:/d"], runtime="singularity"))


def test_a_database(here: Path) -> None:
    (here / "m.so").touch()
    (here / "net.onnx").write_bytes(b"net")
    (here / "s.py").write_text("def f(x): return x")
    words = [*BATCH, "--host", "n1", "--exclude-host", "n3", "--feature", "gpu"]
    words += ["--memory-per-node", "4000", "--nodes", "3", "--port", "7000", "--identifier", "db"]
    words += ["--interface", "ib0", "--security", "open", "--module", "m.so", "--ai-commands", "no"]
    words += ["--maxmemory", "3gb", "--threads", "2", "--conf", "timeout=5", "--layout", "gang"]
    words += ["--db-cpus", "2", "--pin", "0-3", "--shards-per-host", "2", "--cpus", "4"]
    words += ["--run-arg", "mpi=none", "--run-command", "srun", "--checkpoint-every", "60"]
    words += ["--workers", "1", "--ml-model", "net=net.onnx", "--script", "s=s.py"]
    args = parsed("database", render_database.arguments, *words)
    args.program = []
    asked = batch()
    asked.set_hostlist("n1")
    asked.set_excluded_hosts("n3")
    asked.set_node_feature("gpu")
    asked.set_memory_per_node(4000)
    expected = Orchestrator(
        "db",
        3,
        7000,
        ["ib0"],
        None,
        "open",
        2,
        "3gb",
        [str(here / "m.so")],
        ai_commands=False,
        layout="gang",
        batch_settings=asked,
        shards_per_host=2,
        db_cpus=2,
        custom_pinning=range(4),
        workers=1,
        run_command="srun",
    )
    expected.set_cpus(4)
    expected.set_run_arg("mpi", "none")
    expected.set_db_conf("timeout", "5")
    expected.enable_checkpoints(60)
    expected.add_ml_model("net", "ONNX", model_path="net.onnx")
    expected.add_script("s", script_path="s.py")
    assert said(render_database.described(args)) == said(expected)


@pytest.mark.parametrize("scheduler", ["local", "slurm", "pbs"])
@pytest.mark.parametrize(
    "words",
    [
        ["database", "--nodes", "3"],
        ["model", "m", "--", "true"],
        ["model", "m", "--colocate", "uds", "--", "true"],
        ["model", "m", "--colocate", "tcp", "--db-port", "7000", "--", "true"],
        ["ensemble", "e", "--replicas", "2", "--", "true"],
        ["ensemble", "e", "--replicas", "2", "--colocate", "tcp", "--", "true"],
    ],
)
def test_every_kind_for_every_scheduler(scheduler, words, here, capfd):
    asked = [] if scheduler == "local" else ["--time", "1:00:00", "--queue", "q", "--account", "a"]
    cut = words.index("--") if "--" in words else len(words)
    assert main(["render", *words[:cut], "--scheduler", scheduler, *asked, *words[cut:]]) == 0
    text = capfd.readouterr().out
    assert text.startswith("#!/bin/bash\n")
    if scheduler != "local":
        marks = {"slurm": "#SBATCH --time=1:00:00\n", "pbs": "#PBS -l walltime=1:00:00\n"}
        assert marks[scheduler] in text


def test_files_go_into_the_run_directory(here, capsys):
    (here / "a.nml").write_text("dt = @dt@\n")
    words = ["--configure", "a.nml", "--marker", "@", "--param", "dt=0.5", "--scheduler", "local"]
    assert main(["render", "model", "m", *words, "-o", "m.sh", "--", "true"]) == 0
    assert (here / "m" / "a.nml").read_text() == "dt = 0.5\n"
    assert main(["render", "model", "m", *words, "--", "true"]) == 0
    assert "m needs files in its run directory, which -o puts there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "A"], "--env is 'A': it must be a new NAME=VALUE"),
        (["--socket", "/x"], "--socket is for a database beside the program"),
        (["--workers", "1"], "--workers is for a database beside the program"),
        (["--colocate", "tcp", "--socket", "/x"], "--socket is for a Unix socket"),
        (["--colocate", "uds", "--socket-permissions", "rw"], "--socket-permissions is 'rw'"),
        (["--colocate", "uds", "--worker-cpus", "1"], "--worker-cpus is for workers"),
        (["--mount", "/x"], "--mount is for a container"),
        (["--container-runtime", "singularity"], "--container-runtime is for a container"),
        (["--device", "GPU"], "--device is for what is loaded"),
        (["--marker", "@"], "--marker is for files with parameters"),
        (["--params-to-args"], "--params-to-args is for parameters"),
        (["--job-cpus", "0-3"], "--job-cpus is for a picture of the pinning"),
        (["--explain-pinning", "-o", "m.sh"], "--explain-pinning writes nothing to a file"),
        (["--server", "/bin/true"], "--server is for a database beside the program"),
        (["--colocate", "uds", "--db-port", "7000"], "port is 7000: beside a Unix socket"),
        (["--colocate", "uds", "--db-cpus", "3", "--pin", "0-1"], "db_cpus is 3 and custom_pin"),
        (
            ["--scheduler", "slurm", "--tasks", "2", "--verbose-launch", "--quiet-launch"],
            "verbose and quiet of m are both set",
        ),
        (
            ["--scheduler", "slurm", "--nodes", "2", "--tasks", "9", "--tasks-per-node", "4"],
            "tasks of m is 9: 2 nodes with 4 on each have room for 8",
        ),
        (["--ml-model", "net"], "--ml-model is 'net': it must be NAME=FILE"),
        (["--ml-model", "a=x.bin"], "--ml-model is 'a=x.bin': say which of TORCH, ONNX"),
        (["--tasks", "0"], "tasks is 0: it must be a whole number"),
        (["--scheduler", "local", "--exclusive"], "exclusive of m is"),
    ],
)
def test_what_does_not_go_together_is_refused(words, message, here, capsys):
    refused(["render", "model", "m", *words, "--", "true"], 2, message, capsys)
