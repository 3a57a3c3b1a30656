"""What a spec file says is what the Python API says: the same descriptions, the same scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcorch import Container, Ensemble, Model, Orchestrator, RunSettings, Workers
from hpcorch.describe.settings import BatchSettings
from hpcorch.errors import InputError
from hpcorch.plan import plan_ensemble
from hpcorch.spec import Spec, read_spec, read_text
from tests.helpers import database_job, fake_machine, model_job, target


def read(text: str, folder: Path | str = "/lab") -> Spec:
    return read_text(text, "heat.toml", str(folder))


def said(description: Any) -> Any:
    """Return all that a description holds, settings inside it too."""
    if isinstance(description, (list, tuple)):
        return [said(item) for item in description]
    if isinstance(description, (RunSettings, BatchSettings, Container, Model, Orchestrator)):
        return {key: said(value) for key, value in vars(description).items()}
    return description


def test_a_database_with_everything(tmp_path: Path) -> None:
    (tmp_path / "redisai.so").touch()
    (tmp_path / "net.onnx").write_bytes(b"net")
    (tmp_path / "post.py").write_text("import math\n\n@staticmethod\ndef norm(x):\n    return x\n")
    found = read(
        """
        [database.db]
        port = 7000
        path = "here"
        db_nodes = 3
        interface = ["ib0", "lo"]
        security = "open"
        threads = 2
        maxmemory = "3gb"
        module_paths = ["redisai.so"]
        ai_commands = false
        layout = "gang"
        shards_per_host = 2
        db_cpus = 2
        custom_pinning = "0,2,5-7"
        checkpoint = true
        restore = "../old/db"
        cpus = 8
        eviction_strategy = "allkeys-lru"
        max_clients = 1000
        max_message_size = 2097152
        enable_checkpoints = 60
        time = "4:00:00"
        queue = "batch"
        account = "abc"
        hosts = "n1,n2"
        batch = true
        run_command = "srun"
        single_cmd = true
        db_conf = {timeout = 300, activedefrag = true}
        run_arg = {mpi = "none", verbose = true}

        [database.db.batch_settings]
        exclusive = true
        memory_per_node = 4000
        batch_args = {qos = "high", requeue = true}

        [database.db.workers]
        count = 2
        cpus = [1, [4, 5]]
        max_request = "2gb"

        [[database.db.add_ml_model]]
        name = "net"
        backend = "ONNX"
        model_path = "net.onnx"
        device = "GPU"

        [[database.db.add_script]]
        name = "scale"
        script = "def scale(x): return 2 * x"

        [[database.db.add_function]]
        name = "norm"
        function = "post.py:norm"
        language = "PYTHON"
        """,
        tmp_path / "lab" / "..",
    )
    batch = BatchSettings(
        time="4:00:00", queue="batch", account="abc", batch_args={"qos": "high", "requeue": None}
    )
    batch.set_exclusive()
    batch.set_memory_per_node(4000)
    expected = Orchestrator(
        "db",
        3,
        7000,
        ["ib0", "lo"],
        str(tmp_path / "here"),
        "open",
        2,
        "3gb",
        [str(tmp_path / "redisai.so")],
        ai_commands=False,
        layout="gang",
        batch_settings=batch,
        shards_per_host=2,
        db_cpus=2,
        custom_pinning=[0, 2, range(5, 8)],
        checkpoint=True,
        restore=str(tmp_path.parent / "old" / "db"),
        workers=Workers(2, [1, range(4, 6)], max_request="2gb"),
        batch=True,
        run_command="srun",
        single_cmd=True,
    )
    expected.set_hosts(["n1", "n2"])
    expected.set_cpus(8)
    expected.set_eviction_strategy("allkeys-lru")
    expected.set_max_clients(1000)
    expected.set_max_message_size(2097152)
    expected.enable_checkpoints(60)
    expected.set_db_conf("timeout", "300")
    expected.set_db_conf("activedefrag", "yes")
    expected.set_run_arg("mpi", "none")
    expected.set_run_arg("verbose")
    expected.add_ml_model("net", "ONNX", model_path=tmp_path / "net.onnx", device="GPU")
    expected.add_script("scale", "def scale(x): return 2 * x")
    source = "@staticmethod\ndef norm(x):\n    return x\n"
    expected.add_function_source("norm", source, "PYTHON")
    (database,) = found.databases
    assert said(database) == said(expected)


def test_a_program_with_everything(tmp_path: Path) -> None:
    found = read(
        """
        [model.air.run_settings]
        exe = "air"

        [model.sim]
        params = {n = 3, alpha = 0.5, kind = "fine"}
        params_to_args = ["n"]
        path = "~/sim"
        enable_key_prefixing = true
        register_incoming_entity = ["air", "many"]

        [model.sim.run_settings]
        exe = "./sim"
        exe_args = ["--input", "a b"]
        run_command = "srun"
        run_args = {kill-on-bad-exit = true, mpi = "pmix"}
        env_vars = {OMP_NUM_THREADS = 4}
        nodes = 2
        tasks = 8
        tasks_per_node = 4
        cpus_per_task = 2
        memory_per_node = 1000
        walltime = "1:00:00"
        hostlist = ["n1", "n2"]
        hostlist_from_file = "hosts"
        excluded_hosts = "n3"
        node_feature = ["gpu", "fast"]
        task_map = "block"
        cpu_bindings = [0, 1]
        verbose_launch = true
        quiet_launch = false
        broadcast = true
        mpmd_preamble = ["module load mpi"]

        [[model.sim.run_settings.make_mpmd]]
        exe = "./ocean"
        tasks = 2

        [model.sim.batch_settings]
        nodes = 2
        time = "2:00:00"
        queue = "q"
        account = "a"
        add_preamble = "module load gcc"

        [model.sim.attach_generator_files]
        to_copy = "mesh"
        to_configure = ["in.nml"]

        [model.sim.colocate_db_uds]
        db_identifier = "near"
        socket_permissions = 0o770
        db_cpus = 2
        custom_pinning = [0, [2, 3]]
        limit_app_cpus = false
        workers = 1
        per = "numa"

        [ensemble.many]
        replicas = 2
        run_settings = {exe = "many"}
        """
    )
    air, sim, many = found.programs
    assert isinstance(sim, Model)
    assert isinstance(many, Ensemble)
    settings = RunSettings(
        "/lab/sim",
        ["--input", "a b"],
        "srun",
        {"kill-on-bad-exit": None, "mpi": "pmix"},
        {"OMP_NUM_THREADS": 4},
    )
    settings.set_nodes(2)
    settings.set_tasks(8)
    settings.set_tasks_per_node(4)
    settings.set_cpus_per_task(2)
    settings.set_memory_per_node(1000)
    settings.set_walltime("1:00:00")
    settings.set_hostlist("n1,n2")
    settings.set_hostlist_from_file("/lab/hosts")
    settings.set_excluded_hosts(["n3"])
    settings.set_node_feature(["gpu", "fast"])
    settings.set_task_map("block")
    settings.set_cpu_bindings([0, 1])
    settings.set_verbose_launch(True)
    settings.set_broadcast()
    settings.set_mpmd_preamble(["module load mpi"])
    ocean = RunSettings("/lab/ocean")
    ocean.set_tasks(2)
    settings.make_mpmd(ocean)
    batch = BatchSettings(2, "2:00:00", "q", "a")
    batch.add_preamble("module load gcc")
    expected = Model(
        "sim",
        settings,
        {"n": 3, "alpha": 0.5, "kind": "fine"},
        str(Path.home() / "sim"),
        batch,
        enable_key_prefixing=True,
    )
    expected.params_to_args(["n"])
    expected.attach_generator_files("/lab/mesh", to_configure="/lab/in.nml")
    expected.colocate_db_uds(
        socket_permissions=0o770,
        db_cpus=2,
        custom_pinning=[0, range(2, 4)],
        db_identifier="near",
        limit_app_cpus=False,
        workers=1,
        per="numa",
    )
    expected.register_incoming_entity(air)
    expected.register_incoming_entity(many)
    assert said(sim) == said(expected)
    assert sim.incoming_names == ["air", "many_0", "many_1"]


def test_an_ensemble_with_everything() -> None:
    found = read(
        """
        [ensemble.heat]
        params = {alpha = [0.1, 0.2], n = 3}
        replicas = 2
        perm_strategy = "random"
        n_models = 2
        seed = 7
        path = "out"
        params_as_args = ["alpha"]
        max_running = 5
        enable_key_prefixing = false
        run_settings = {exe = "/bin/echo"}
        batch_settings = {time = "0:10:00"}
        colocate_db_tcp = {port = 7000, ifname = "lo"}
        attach_generator_files = {to_symlink = ["mesh"]}

        [ensemble.heat.model.special]
        params = {alpha = 9}
        run_settings = {exe = "/bin/true"}
        """
    )
    (ensemble,) = found.programs
    expected = Ensemble(
        "heat",
        {"alpha": [0.1, 0.2], "n": 3},
        BatchSettings(time="0:10:00"),
        RunSettings("/bin/echo"),
        2,
        "random",
        "/lab/out",
        ["alpha"],
        2,
        7,
        5,
    )
    expected.add_model(Model("special", RunSettings("/bin/true"), {"alpha": 9}))
    expected.disable_key_prefixing()
    for member in expected:
        member.colocate_db_tcp(7000, "lo")
    expected.attach_generator_files(to_symlink="/lab/mesh")
    assert isinstance(ensemble, Ensemble)
    assert said(list(ensemble)) == said(list(expected))
    assert (ensemble.path, ensemble.max_running) == ("/lab/out", 5)
    assert said(ensemble.batch) == said(expected.batch)


def test_scripts_are_those_of_the_python_api(tmp_path: Path) -> None:
    found = read(
        """
        [database.db]
        db_nodes = 3
        time = "1:00:00"
        [model.sim]
        run_settings = {exe = "/bin/echo", exe_args = ["$(id)", "it's"]}
        colocate_db_tcp = {db_identifier = "near"}
        [ensemble.many]
        params = {n = [1, 2]}
        params_as_args = ["n"]
        run_settings = {exe = "/bin/echo"}
        """
    )
    database = Orchestrator("db", 3, batch_settings=BatchSettings(time="1:00:00"))
    model = Model("sim", RunSettings("/bin/echo", ["$(id)", "it's"]))
    model.colocate_db_tcp(db_identifier="near")
    ensemble = Ensemble(
        "many", {"n": [1, 2]}, run_settings=RunSettings("/bin/echo"), params_as_args=["n"]
    )
    assert database_job(found.databases[0], scheduler="slurm") == database_job(
        database, scheduler="slurm"
    )
    mine, theirs = (
        model_job(item, "/x/sim", "/bin/echo", machine=fake_machine(), scheduler="pbs")
        for item in (found.programs[0], model)
        if isinstance(item, Model)
    )
    assert mine == theirs
    mine_of_many, theirs_of_many = (
        plan_ensemble(item, lambda _: ["/bin/echo"], [], lambda _: None, target("/x/many"))
        for item in (found.programs[1], ensemble)
        if isinstance(item, Ensemble)
    )
    assert mine_of_many == theirs_of_many


def test_containers() -> None:
    text = """
        [model.m.run_settings]
        exe = "./solve"
        [model.m.run_settings.container]
        image = "{}"
        args = "--nv"
        mount = {{"data" = "/data"}}
        """
    images = {"model.sif": "/lab/model.sif", "docker://a/b": "docker://a/b"}
    for image, expected in images.items():
        (model,) = read(text.format(image)).programs
        assert isinstance(model, Model)
        container = model.run_settings.container
        assert container is not None
        # The program is one of the image's.
        assert model.run_settings.exe == "./solve"
        assert said(container) == said(Container(expected, "--nv", {"/lab/data": "/data"}))


def test_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my-run.toml"
    file.write_text("[database.db]\n")
    monkeypatch.chdir(tmp_path.parent)
    found = read_spec(f"{tmp_path.name}/my-run.toml")
    assert (found.name, found.exp_path) == ("my-run", str(tmp_path / "my-run"))
    assert (found.launcher, found.site) == ("auto", None)
    assert [item.name for item in found.entities] == ["db"]
    about = '[experiment]\nname="x"\nexp_path="/scratch/x"\nlauncher="pbs"\nsite="s.toml"\n'
    file.write_text(f"{about}[database.db]\n")
    found = read_spec(file)
    assert (found.name, found.exp_path) == ("x", "/scratch/x")
    assert (found.launcher, found.site) == ("pbs", str(tmp_path / "s.toml"))


def test_a_file_that_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.toml cannot be read: No such file"):
        read_spec(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(InputError, match=r"latin.toml is not UTF-8 text"):
        read_spec(tmp_path / "latin.toml")
