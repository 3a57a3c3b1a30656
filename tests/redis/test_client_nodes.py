"""Calls to single servers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcorch.client import Client, RedisRuntimeError
from hpcorch.client.nodes import parse_info
from hpcorch.errors import InputError, InputTypeError

pytestmark = pytest.mark.redis


def test_info_of_one_server_and_of_all(tcp_server, cluster):
    with Client(False, tcp_server.ssdb) as client:
        (info,) = client.get_db_node_info([tcp_server.ssdb])
        assert info["Server"]["tcp_port"] == str(tcp_server.port)
        assert info["Persistence"]["rdb_last_save_time"].isdigit()
        with pytest.raises(RedisRuntimeError, match="cluster support disabled"):
            client.get_db_cluster_info([tcp_server.ssdb])
    nodes = [node.ssdb for node in cluster]
    with Client(True, nodes[0]) as client:
        for addresses in (nodes, [",".join(nodes)]):
            ports = [info["Server"]["tcp_port"] for info in client.get_db_node_info(addresses)]
            assert ports == [str(node.port) for node in cluster]
        (facts,) = client.get_db_cluster_info(nodes[:1])
        assert facts["cluster_state"] == "ok"
        assert facts["cluster_known_nodes"] == "3"
        assert client.get_db_node_info([]) == []


def test_configuration(own_server):
    with Client(False, own_server.ssdb) as client:
        client.config_set("lua-time-limit", "6000", own_server.ssdb)
        assert client.config_get("lua-time-limit", own_server.ssdb) == {"lua-time-limit": "6000"}
        assert len(client.config_get("*max*", own_server.ssdb)) > 3
        assert client.config_get("nonsense", own_server.ssdb) == {}
        with pytest.raises(RedisRuntimeError, match="nonsense"):
            client.config_set("nonsense", "1", own_server.ssdb)


def test_a_list_of_addresses_stands_for_all_servers(cluster):
    nodes = ",".join(node.ssdb for node in cluster)
    with Client(True, nodes) as client:
        client.config_set("lua-time-limit", "6001", nodes)
        for node in (nodes, *nodes.split(",")):
            assert client.config_get("lua-time-limit", node) == {"lua-time-limit": "6001"}


def test_save_and_flush(own_server):
    with Client(False, own_server.ssdb) as client:
        client.put_tensor("t", np.arange(3))
        client.save([own_server.ssdb])
        assert (own_server.directory / "dump.rdb").stat().st_size > 0
        client.flush_db([own_server.ssdb])
        assert not client.tensor_exists("t")


def test_a_unix_socket_is_an_address_too(uds_server):
    with Client(False, uds_server.ssdb) as client:
        assert client.get_db_node_info([uds_server.ssdb])[0]["Server"]["tcp_port"] == "0"


@pytest.mark.parametrize("text", ["", "host", "12345.6.7:2345561", "h:0", "a:b:c", "unix://"])
def test_what_is_no_address_is_refused_as_another_server_is(tcp_server, text):
    with Client(False, tcp_server.ssdb) as client:
        for call in (
            lambda: client.get_db_node_info([text]),
            lambda: client.get_ai_info([text], "x"),
            lambda: client.config_get("*", text),
            lambda: client.config_set("maxmemory", "0", text),
            lambda: client.save([text]),
            lambda: client.flush_db([text]),
        ):
            with pytest.raises(RedisRuntimeError, match="which is no address") as caught:
                call()
            assert isinstance(caught.value, InputError)


def test_what_is_known_of_models_and_scripts(cluster):
    every = [node.ssdb for node in cluster]
    with Client(True, ",".join(every)) as client:
        client.set_model("known", b"weights", "ONNX", "GPU:1", tag="v2")
        assert client.get_ai_info(every, "known") == 3 * [
            {"key": "known", "type": "MODEL", "backend": "ONNX", "device": "GPU:1", "tag": "v2"}
        ]
        assert client.get_ai_info(every[:1], "known", True) == [{}]
        client.delete_model("known")
        client.set_script("known", "def f(x):\n    return x\n")
        assert client.get_ai_info(every[:1], "known")[0]["type"] == "SCRIPT"
        with pytest.raises(RedisRuntimeError, match="is no server of this database"):
            client.get_ai_info(["no_host:6379"], "known")
        client.delete_script("known")


def test_other_servers_and_other_types(tcp_server):
    here = tcp_server.ssdb
    with Client(False, here) as client:
        with pytest.raises(RedisRuntimeError, match="is no server of this database"):
            client.get_db_node_info(["no_host:6379"])
        with pytest.raises(InputError, match="'bla'"):
            client.get_db_node_info(["bla"])
        with pytest.raises(RedisRuntimeError, match=r"AI\.INFO"):
            client.get_ai_info([here], "model")
        wrong: Any = 3
        for call in (
            lambda: client.get_db_node_info(wrong),
            lambda: client.get_db_node_info([wrong]),
            lambda: client.get_db_cluster_info(wrong),
            lambda: client.get_ai_info(wrong, "k"),
            lambda: client.get_ai_info([here], wrong),
            lambda: client.get_ai_info([here], "k", wrong),
            lambda: client.config_get(wrong, here),
            lambda: client.config_get("k", wrong),
            lambda: client.config_set("k", wrong, here),
            lambda: client.config_set(wrong, "v", here),
            lambda: client.config_set("k", "v", wrong),
            lambda: client.save(wrong),
            lambda: client.flush_db(wrong),
        ):
            with pytest.raises(InputTypeError):
                call()


def test_programs_may_not_administer_a_database_with_passwords(password_server, monkeypatch):
    monkeypatch.setenv("SSDB", password_server.ssdb)
    monkeypatch.setenv("HPCORCH_CREDENTIALS", str(password_server.credentials))
    with Client() as client, pytest.raises(RedisRuntimeError, match="NOPERM"):
        client.flush_db([password_server.ssdb])


def test_sections_of_info():
    text = "# Server\r\nversion:7\r\nurl:a:b\r\n\r\n# Keyspace\r\n\r\n# Server\r\nmore:1\r\n"
    assert parse_info(text) == {
        "Server": {"version": "7", "url": "a:b", "more": "1"},
        "Keyspace": {},
    }
