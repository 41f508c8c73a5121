"""Which interface ranks meet on."""

import socket

import pytest

from hopsearch.ray_backend.cluster import network_interface as interface


def test_the_interface_of_an_address():
    names = {name for _, name in socket.if_nameindex()}
    assert interface.interface_of("127.0.0.1") in names
    assert interface.interface_of("203.0.113.1") == ""  # an address of nobody's


@pytest.mark.parametrize(
    ("chosen", "kept"), [(None, interface.interface_of("127.0.0.1")), ("eth7", "eth7")]
)
def test_a_choice_in_the_environment_stays(monkeypatch, chosen, kept):
    monkeypatch.setattr(interface.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if chosen:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", chosen)
    interface.meet_where_ray_does()
    assert interface.os.environ["GLOO_SOCKET_IFNAME"] == kept
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
