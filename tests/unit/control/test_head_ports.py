"""A head gets the ports it asks for or a clear refusal, and never a port that is in use."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.control.ports import (
    FIRST_PORT,
    LAST_PORT,
    REPLICA_PORTS,
    choose_ports,
    holder_of,
    is_free,
)
from raymi.errors import ConflictError, RaymiError, SpecError
from raymi.serve.grpc.ports import FIRST_REPLICA_PORT, LAST_REPLICA_PORT, grpc_port_beside


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_usual_ports_are_taken_when_they_are_free():
    ports = choose_ports(dashboard=None, serve=None, free=lambda _: True)

    assert (ports.dashboard, ports.serve) == (8265, 8000)


def test_beside_another_cluster_the_usual_ports_are_left_alone():
    ports = choose_ports(dashboard=None, serve=None, free=lambda port: port not in (8265, 8000))

    assert FIRST_PORT <= ports.dashboard <= LAST_PORT
    assert FIRST_PORT <= ports.serve <= LAST_PORT


@given(st.sets(st.integers(FIRST_PORT, LAST_PORT), max_size=50))
def test_every_port_is_free_and_no_two_are_the_same(busy):
    ports = choose_ports(dashboard=None, serve=None, free=lambda port: port not in busy)

    chosen = list(ports.by_name().values())
    assert not busy & set(chosen)
    assert len(set(chosen)) == len(chosen)


def test_a_port_kept_for_another_head_is_not_used_although_nothing_listens_there():
    ports = choose_ports(dashboard=None, serve=None, reserved={8000}, free=lambda _: True)

    assert ports.serve != 8000


def test_replicas_of_two_heads_never_share_a_port_though_none_listens_yet():
    first = choose_ports(dashboard=None, serve=None, free=lambda _: True)
    reserved = set(first.held())
    for _ in range(20):
        another = choose_ports(dashboard=None, serve=None, reserved=reserved, free=lambda _: True)

        assert not another.held() & reserved
        reserved |= another.held()


def test_replicas_get_the_one_row_of_ports_in_which_nothing_listens_not_even_for_grpc():
    rows = range(FIRST_REPLICA_PORT, LAST_REPLICA_PORT, REPLICA_PORTS)
    busy = {grpc_port_beside(first + 7) for first in rows if first != rows[4]}

    ports = choose_ports(dashboard=None, serve=None, free=lambda port: port not in busy)

    assert ports.first_replica == rows[4]


def test_a_port_that_was_asked_for_is_used():
    ports = choose_ports(dashboard=9001, serve=9002, free=lambda _: True)

    assert (ports.dashboard, ports.serve) == (9001, 9002)


def test_asking_for_the_usual_dashboard_port_for_serve_moves_the_dashboard():
    ports = choose_ports(dashboard=None, serve=8265, free=lambda _: True)

    assert ports.serve == 8265
    assert ports.dashboard != 8265


def test_a_taken_port_that_was_asked_for_is_refused_and_its_holder_named(listener):
    with pytest.raises(ConflictError, match=f"--dashboard-port {listener}: taken") as refusal:
        choose_ports(dashboard=listener, serve=None)

    assert f"process {os.getpid()}" in refusal.value.why


@pytest.mark.parametrize("port", [-1, 0, 80, 65_536])
def test_a_number_that_is_no_port_for_a_user_is_refused(port):
    with pytest.raises(SpecError, match="--serve-port"):
        choose_ports(dashboard=None, serve=port, free=lambda _: True)


def test_one_port_for_two_purposes_is_refused():
    with pytest.raises(ConflictError, match="already spoken for"):
        choose_ports(dashboard=9000, serve=9000, free=lambda _: True)


def test_a_machine_without_a_free_port_is_refused():
    with pytest.raises(RaymiError, match="no free port"):
        choose_ports(dashboard=None, serve=None, free=lambda _: False)


def test_a_port_is_free_again_as_soon_as_its_listener_has_closed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            client.recv(1)
        assert not is_free(port)

    assert is_free(port)


def test_the_holder_of_a_port_is_named_by_its_pid(listener):
    assert f"process {os.getpid()}" in holder_of(listener)
