"""Site profiles: layers, origins, and mistakes that are named."""

from __future__ import annotations

import re

import pytest

from hpcorch.errors import SiteError
from hpcorch.paths import templates_dir
from hpcorch.sites import Queue, layers, load_site, template_dirs


@pytest.fixture
def system(tmp_path, monkeypatch):
    path = tmp_path / "system" / "site.toml"
    path.parent.mkdir()
    monkeypatch.setattr(layers, "_SYSTEM_DIR", tmp_path / "system")
    return path


@pytest.fixture
def user(tmp_path):
    path = tmp_path / "user" / "hpcorch" / "site.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def environ(tmp_path, system, user, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return {"XDG_CONFIG_HOME": str(tmp_path / "user"), "HOME": str(tmp_path)}


def test_without_any_file_everything_is_the_default(environ):
    site = load_site(environ)
    assert site.scheduler == "auto"
    assert set(site.origins.values()) == {"default"}
    assert "server_conf" in site.origins


def test_later_layers_win_and_every_value_knows_where_it_came_from(environ, system, user, tmp_path):
    named, explicit = tmp_path / "named.toml", tmp_path / "explicit.toml"
    project = tmp_path / "project" / "hpcorch.toml"
    everything = {
        system: ["queue", "interface", "server", "python", "server_conf", "boot_seconds"],
        named: ["interface", "server", "python", "server_conf", "boot_seconds"],
        user: ["server", "python", "server_conf", "boot_seconds"],
        project: ["python", "server_conf", "boot_seconds"],
        explicit: ["server_conf", "boot_seconds"],
    }
    for number, (path, keys) in enumerate(everything.items(), 1):
        path.write_text(
            "".join(
                f"{key} = {number}\n" if key == "boot_seconds" else f'{key} = "v{number}"\n'
                for key in keys
            )
        )
    more = {"HPCORCH_SITE": str(named), "HPCORCH_BOOT_SECONDS": "99"}
    site = load_site({**environ, **more}, str(explicit))
    assert (site.queue, site.interface, site.server) == ("v1", ("v2",), "v3")
    assert (site.python, site.server_conf) == ("v4", str(tmp_path / "v5"))
    assert site.boot_seconds == 99
    assert site.origins["queue"] == str(system)
    assert site.origins["interface"] == str(named)
    assert site.origins["server"] == str(user)
    assert site.origins["python"] == str(project)
    assert site.origins["server_conf"] == str(explicit)
    assert site.origins["boot_seconds"] == "HPCORCH_BOOT_SECONDS"
    assert site.origins["deadline_seconds"] == "default"


def test_lists_come_from_commas_in_variables(environ):
    site = load_site({**environ, "HPCORCH_INTERFACE": "ib0,ib1", "HPCORCH_TEMPLATE_DIRS": "/a"})
    assert site.interface == ("ib0", "ib1")
    assert site.template_dirs == ("/a",)


def test_relative_paths_in_a_profile_start_where_the_profile_is(environ, user):
    user.write_text('server_conf = "redis.conf"\ntemplate_dirs = ["templates", "/abs"]\n')
    site = load_site(environ)
    assert site.server_conf == str(user.parent / "redis.conf")
    assert site.template_dirs == (str(user.parent / "templates"), "/abs")


def test_templates_of_the_user_win_over_those_of_the_profile_and_of_the_machine(
    environ, user, system
):
    user.write_text('template_dirs = ["/site"]\n')
    mine, machine = user.parent / "templates", system.parent / "templates"
    assert template_dirs(load_site(environ), environ) == ("/site",)
    mine.mkdir()
    machine.mkdir()
    assert template_dirs(load_site(environ), environ) == (str(mine), "/site", str(machine))


def test_a_profile_that_others_may_write_is_refused_with_the_cure(environ, user):
    user.write_text('server = "x"\n')
    user.chmod(0o666)
    with pytest.raises(SiteError) as caught:
        load_site(environ)
    assert caught.value.message == f"site profile {user} can be written by others"
    assert caught.value.hint == f"chmod go-w {user}"


def test_an_unknown_key_is_refused_with_the_nearest_known_one(environ, user):
    user.write_text('schedular = "slurm"\n')
    with pytest.raises(SiteError) as caught:
        load_site(environ)
    assert caught.value.message == f"{user} sets 'schedular', which is no site key"
    assert caught.value.hint == "did you mean 'scheduler'?"


def test_a_key_that_resembles_nothing_lists_the_known_ones(environ, user):
    user.write_text("zzz = 1\n")
    with pytest.raises(SiteError) as caught:
        load_site(environ)
    assert "scheduler, account" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("boot_seconds = 0", "boot_seconds to 0: it must be a whole number above 0"),
        ("boot_seconds = true", "boot_seconds to True: it must be a whole number above 0"),
        ('boot_seconds = "1"', "boot_seconds to '1': it must be a whole number above 0"),
        ("boot_seconds = 1.5", "boot_seconds to 1.5: it must be a whole number above 0"),
        ("scheduler = 1", "scheduler to 1: it must be text"),
        ('scheduler = "slrum"', "scheduler to 'slrum': it must be one of auto, slurm, slurm-steps"),
        ('interface = ["ib0", ""]', "interface to .*: no text in it may be empty"),
        ("interface = [1]", r"interface to \[1\]: it must be a list of texts"),
        ("interface = 1", "interface to 1: it must be a list of texts"),
        ('required = ["acount"]', "'acount': it may have account, queue, time, memory_per_node"),
        ('allowed_security = "none"', "'none': it may have password, tls, smartredis, open"),
        ('memory_style = "core"', "memory_style to 'core': it must be one of node, cpu, none"),
        ('run_command = "none"', "run_command to 'none': it must be one of auto, srun"),
        ('time = "24h"', "time to '24h': it must be HH:MM:SS or D-HH:MM:SS"),
        ('time = "00:00:00"', "time to '00:00:00': it must be above 0; leave it out"),
        ("time = 01:00:00", "time to datetime.time.1, 0.: it must be text"),
        ('account = "a b"', "account to 'a b': it must be 1 to 64 of the letters"),
        ("queues = 1", r"queues to 1: it must be tables such as \[queues.debug\]"),
        ("queues.debug = 1", r"queues.debug to 1: it must be a table, as below \[queues.debug\]"),
        ("queues.debug.max_nodes = -1", "queues.debug.max_nodes to -1: it must be 0 or a whole"),
        ('queues.debug.max_time = "1h"', "queues.debug.max_time to '1h': it must be HH:MM:SS"),
        ('queues."a b".max_nodes = 1', "queues.a b is 'a b': it must be 1 to 64 of the letters"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(environ, user, text, message):
    user.write_text(text + "\n")
    with pytest.raises(SiteError, match=message):
        load_site(environ)


def test_queues_are_made_of_all_layers_and_know_where_each_rule_came_from(environ, system, user):
    system.write_text('[queues.debug]\nmax_time = "1:00:00"\nmax_nodes = 2\n[queues.batch]\n')
    user.write_text('[queues.debug]\nmax_nodes = 1\n[queues.mine]\nallowed_security = "tls"\n')
    site = load_site(environ)
    assert site.queues == {
        "debug": Queue(max_time="1:00:00", max_nodes=1),
        "batch": Queue(),
        "mine": Queue(allowed_security=("tls",)),
    }
    assert site.origin("queues.debug.max_time") == site.origin("queues.batch") == str(system)
    assert site.origin("queues.debug.max_nodes") == str(user)
    assert site.origin("queues.batch.max_nodes") == "default"


def test_a_queue_whose_own_time_is_above_its_limit_is_refused(environ, system, user):
    system.write_text('[queues.debug]\ntime = "0-01:00:00"\nmax_time = "60:00:00"\n')
    assert load_site(environ).queues["debug"].time == "0-01:00:00"
    user.write_text('[queues.debug]\nmax_time = "0:59:59"\n')
    with pytest.raises(SiteError) as caught:
        load_site(environ)
    assert caught.value.message == (
        f"{system} sets queues.debug.time to '0-01:00:00': it must not be above its max_time, "
        f"'0:59:59' ({user})"
    )


def test_an_unknown_key_of_a_queue_is_refused_with_the_nearest_known_one(environ, user):
    user.write_text("[queues.debug]\nmaxnodes = 1\n")
    with pytest.raises(SiteError) as caught:
        load_site(environ)
    message = f"{user} sets queues.debug.maxnodes, which is no key of a queue"
    assert caught.value.message == message
    assert caught.value.hint == "did you mean 'max_nodes'?"


def test_a_variable_that_resembles_a_key_is_told(environ):
    for wrong, right in (("INTERFACES", "INTERFACE"), ("ACOUNT", "ACCOUNT"), ("QUEUES", "QUEUE")):
        with pytest.raises(SiteError) as caught:
            load_site({**environ, f"HPCORCH_{wrong}": "x"})
        assert f"the variable HPCORCH_{wrong} is set" in caught.value.message
        assert caught.value.hint == f"did you mean HPCORCH_{right}? else unset HPCORCH_{wrong}"


def test_variables_of_jobs_and_programs_are_no_slips_of_the_pen(environ):
    exported = re.findall(
        r"export .*", "\n".join(path.read_text() for path in templates_dir().rglob("*.*"))
    )
    names = {name for line in exported for name in re.findall(r"HPCORCH_[A-Z_]+", line)}
    assert {"HPCORCH_INDEX", "HPCORCH_CREDENTIALS", "HPCORCH_STEP_FILE"} <= names
    others = ("HPCORCH_LOG_LEVEL", "HPCORCH_MODULE", "HPCORCH_TOPOLOGY", "HPCORCH_CREDENTIALS_db")
    load_site({**environ, **dict.fromkeys((*names, *others), "1")})


@pytest.mark.parametrize("value", ["", "0", "many", "-1", "²"])
def test_a_variable_with_a_bad_number_is_refused_by_name(environ, value):
    with pytest.raises(SiteError, match="HPCORCH_BOOT_SECONDS sets boot_seconds"):
        load_site({**environ, "HPCORCH_BOOT_SECONDS": value})


def test_text_that_is_no_toml_is_refused_by_file(environ, user):
    user.write_text("scheduler = \n")
    with pytest.raises(SiteError, match=f"{user} is not valid TOML"):
        load_site(environ)
    user.write_bytes(b"\xff\xfe")
    with pytest.raises(SiteError, match=f"{user} is not valid TOML"):
        load_site(environ)


def test_a_file_that_somebody_named_must_exist(environ, tmp_path):
    missing = str(tmp_path / "missing.toml")
    with pytest.raises(SiteError, match="cannot be read: No such file"):
        load_site(environ, missing)
    with pytest.raises(SiteError, match="cannot be read: No such file"):
        load_site({**environ, "HPCORCH_SITE": missing})
