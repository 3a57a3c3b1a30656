from __future__ import annotations

import json
import os
import types

import pytest

from hpcorch.client.credentials import read_credentials
from hpcorch.client.registry import find_credentials, register, registry_dir, unregister
from hpcorch.client.settings import legacy_settings
from hpcorch.errors import InputError, SecurityError


def private(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_all_keys(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    text = "# made by a test\nuser=app\npassword=a=b #c \n\n"
    text += f"tls_ca=ca\ntls_cert=cert\ntls_key={tmp_path}/key\n"
    found = read_credentials(private(tmp_path / "c", text))
    assert (found.user, found.password) == ("app", "a=b #c ")
    assert (found.tls_ca, found.tls_cert) == (tmp_path / "ca", tmp_path / "cert")
    assert found.tls_key == tmp_path / "key"
    assert "a=b" not in repr(found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_files_that_others_may_access(tmp_path, mode):
    with pytest.raises(SecurityError, match=f"mode {mode:04o}.*chmod 600"):
        read_credentials(private(tmp_path / "c", "password=x\n", mode))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the credentials file .*nothing"):
        read_credentials(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("password=x\nsecret", "line 2"),
        ("pass=secret", "line 1"),
        ("user=app", "no password"),
        ("tls_ca=missing", "cannot be read"),
        ("password=x\ntls_cert=c", "together"),
        ("password=x\ntls_cert=c\ntls_key=c", "without tls_ca"),
    ],
)
def test_unusable_contents_are_named_but_not_shown(tmp_path, text, message):
    (tmp_path / "c").touch()
    with pytest.raises(InputError, match=message) as caught:
        read_credentials(private(tmp_path / "file", text))
    assert "secret" not in str(caught.value)


@pytest.fixture
def environ(tmp_path):
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def address_json(directory, addresses, credentials):
    directory.mkdir(exist_ok=True)
    path = directory / "address.json"
    facts = {"version": 1, "identifier": "orchestrator", "type": "Standalone"}
    path.write_text(json.dumps({**facts, "addresses": addresses, "credentials": credentials}))
    return path


def test_directory(tmp_path):
    assert registry_dir({"HOME": "/h"}).as_posix() == "/h/.local/state/hpcorch/addresses"
    assert registry_dir({"HOME": "/h", "XDG_STATE_HOME": "rel"}) == registry_dir({"HOME": "/h"})
    assert registry_dir({"XDG_STATE_HOME": "/s"}).as_posix() == "/s/hpcorch/addresses"


def test_register_find_unregister(tmp_path, environ):
    addresses = ["10.0.0.1:6379", "/tmp/a b/redis.sock"]
    facts = address_json(tmp_path / "db", addresses, "/secret/credentials")
    assert find_credentials(addresses[0], environ) is None
    register(addresses, facts, environ)
    register(addresses, facts, environ)
    directory = registry_dir(environ)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in directory.iterdir()) == [
        "10.0.0.1:6379",
        f"{os.uname().nodename} %2Ftmp%2Fa b%2Fredis.sock",
    ]
    for address in (*addresses, "tcp://10.0.0.1:6379", "unix:///tmp/a b/redis.sock"):
        assert str(find_credentials(address, environ)) == "/secret/credentials"
    unregister(addresses, facts, environ)
    unregister(addresses, facts, environ)
    assert not list(directory.iterdir())


def test_a_later_database_keeps_its_address(tmp_path, environ):
    old = address_json(tmp_path / "old", ["h:1"], "/old")
    new = address_json(tmp_path / "new", ["h:1"], "credentials")
    register(["h:1"], old, environ)
    register(["h:1"], new, environ)
    unregister(["h:1"], old, environ)
    assert find_credentials("h:1", environ) == tmp_path / "new" / "credentials"


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "/tmp/redis.sock"])
def test_machines_that_share_a_home_do_not_mix_up_their_own_addresses(
    tmp_path, environ, monkeypatch, address
):
    def on(name):
        monkeypatch.setattr("os.uname", lambda: types.SimpleNamespace(nodename=name))

    for name in ("login1", "login2"):
        on(name)
        register([address], address_json(tmp_path / name, [address], f"/{name}"), environ)
    on("login1")
    assert str(find_credentials(address, environ)) == "/login1"
    unregister([address], tmp_path / "login1" / "address.json", environ)
    on("login2")
    assert str(find_credentials(address, environ)) == "/login2"


def test_what_is_not_believed(tmp_path, environ, monkeypatch):
    facts = address_json(tmp_path / "db", ["h:1"], "/c")
    register(["h:1", "h:2"], facts, environ)
    assert find_credentials("h:2", environ) is None
    with monkeypatch.context() as other_user:
        other_user.setattr("os.getuid", lambda: 12345678)
        assert find_credentials("h:1", environ) is None
    for content in ("", "[]", "{}", '{"addresses": ["h:1"], "credentials": null}', "{not json"):
        facts.write_text(content)
        assert find_credentials("h:1", environ) is None
    facts.unlink()
    assert find_credentials("h:1", environ) is None


def source(settings):
    return settings.credentials.source


def test_which_credentials_the_legacy_form_takes(tmp_path, environ, monkeypatch):
    ours = private(tmp_path / "ours", "password=ours\n")
    listed = private(tmp_path / "listed", "password=listed\n")
    monkeypatch.setenv("XDG_STATE_HOME", environ["XDG_STATE_HOME"])
    assert legacy_settings(False, "h:1").credentials is None
    monkeypatch.setenv("HPCORCH_CREDENTIALS", str(ours))
    assert source(legacy_settings(False, "h:1")) == ours
    register(["h:1"], address_json(tmp_path / "db", ["h:1"], str(listed)))
    assert source(legacy_settings(False, "h:1")) == listed
    # SSDB and HPCORCH_CREDENTIALS belong together: no list is needed for that database.
    monkeypatch.setenv("SSDB", "h:2,h:1")
    assert source(legacy_settings(True, "h:1")) == ours
    assert source(legacy_settings(True, None)) == ours
    assert legacy_settings(True, None).clustered is True
