import os
import socket

import pytest

from tinyjax.errors import UserError
from tinyjax.parallel import distributed


@pytest.mark.slow
def test_its_own_error_is_told_though_another_process_told_of_one_just_before(monkeypatch):
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        peer = distributed._Peer(1, "other", listener.accept()[0])
    line = distributed._Line(distributed.Job("127.0.0.1:1", 2, 0), [peer], lost_seconds=60)
    other.sendall(b"failed: process 1 of 2 (other) ended: no such folder\n")
    assert line._any_gone.wait(5)
    line.fail(UserError("no such folder"))
    assert exits == []
