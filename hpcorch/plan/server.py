"""How a server is started, and who may reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpcorch.describe.orchestrator import Orchestrator
from hpcorch.errors import InputError, SecurityError
from hpcorch.plan.jobs import Machine, ServerFacts, ServerPlan
from hpcorch.sites import Site

_TLS_CURE = (
    "use a server built with TLS (REDIS_PATH, or server in a site profile), with openssl on the "
    'nodes, or say security="open" to accept it'
)


def bus_security(
    database: Orchestrator, machine: Machine, interfaces: Sequence[str]
) -> tuple[bool, tuple[str, ...]]:
    """Decide whether the cluster bus speaks TLS; refuse one that anybody could join."""
    warnings: list[str] = []
    can_tls = machine.server.tls and machine.openssl
    lacking = "openssl is missing" if machine.server.tls else f"{machine.server.path} lacks TLS"
    if database.security == "tls" and not can_tls:
        raise SecurityError(f'security="tls" cannot be had: {lacking}', _TLS_CURE)
    if database.security == "tls" and not machine.cli:
        raise SecurityError(
            'security="tls" needs redis-cli or valkey-cli on the nodes', "set REDIS_CLI_PATH"
        )
    if database.security == "smartredis":
        warnings.append(
            f'database {database.name} runs with security="smartredis": whoever can reach its '
            "port can read and write its data, since SmartRedis programs cannot authenticate"
        )
    if database.db_nodes == 1 or database.security == "open":
        return False, tuple(warnings)
    if can_tls:
        return True, tuple(warnings)
    if set(interfaces) != {"lo"}:
        raise SecurityError(
            f"database {database.name} would be a cluster whose bus anybody on its network could "
            f"join: a password does not protect it, and {lacking}",
            _TLS_CURE,
        )
    warnings.append(
        f"database {database.name} is a cluster without TLS on its bus: "
        "other users of this machine could join it"
    )
    return False, tuple(warnings)


def server_plan(
    machine: Machine,
    site: Site,
    *,
    security: str,
    bus_tls: bool = False,
    modules: tuple[str, ...] = (),
    ai_commands: bool | None = None,
    settings: Mapping[str, str] | None = None,
    threads: int = 1,
    debug: bool = False,
) -> ServerPlan:
    """Plan one server; `settings` are redis.conf directives that somebody asked for.

    `ai_commands` loads hpcorch's own module; None means: for SmartRedis programs, when it is there
    and no other module was asked for. Raises InputError when it is not there.
    """
    if ai_commands is None:
        ai_commands = security == "smartredis" and bool(machine.module) and not modules
    if ai_commands:
        if not machine.module:
            raise InputError("ai_commands=True needs the server module", "hpcorch module build")
        modules = (machine.module, *modules)
    return ServerPlan(
        program=machine.server.path,
        environment=tuple(f"{key}={value}" for key, value in machine.server_environment.items()),
        modules=modules,
        ai_commands=ai_commands,
        cli=machine.cli,
        security=security,
        data_tls=security == "tls",
        bus_tls=bus_tls,
        boot_seconds=site.boot_seconds,
        defaults=_defaults(machine.server, threads),
        include=machine.server_conf,
        directives=(
            *((key, *(value.split() or [""])) for key, value in (settings or {}).items()),
            *_managed(security, debug=debug, asked=settings or {}),
        ),
    )


def _defaults(server: ServerFacts, threads: int) -> tuple[tuple[str, ...], ...]:
    """Return settings for a data layer that a site's own file may change."""
    lines: list[tuple[str, ...]] = [
        ("maxclients", "50000"),
        ("tcp-backlog", "4096"),
        ("timeout", "0"),
        ("client-output-buffer-limit", "normal", "0", "0", "0"),
        # One tensor may be larger than the 512 MiB that servers allow by default.
        ("proto-max-bulk-len", str(2**40)),
        # A server hangs up on whoever sends more than this at once, by default 1 GiB.
        ("client-query-buffer-limit", str(2**40)),
        ("save", ""),
        ("appendonly", "no"),
        ("stop-writes-on-bgsave-error", "no"),
        ("cluster-node-timeout", "15000"),
    ]
    if server.flavour == "keydb":
        # KeyDB is ten times slower with more threads than CPUs, and its shipped default is 2.
        lines.append(("server-threads", str(threads)))
    else:
        lines += [("io-threads", str(threads)), ("disable-thp", "no")]
        if threads > 1:
            lines.append(("io-threads-do-reads", "yes"))
    return tuple(lines)


def _managed(
    security: str, *, debug: bool, asked: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Return settings that hpcorch relies on, so that no file may change them."""
    level = () if "loglevel" in asked else (("loglevel", "debug" if debug else "notice"),)
    return (
        ("protected-mode", "no" if security in ("open", "smartredis") else "yes"),
        ("daemonize", "no"),
        ("logfile", ""),
        *level,
    )
