"""A software guest behind TLS, which `tests/scripts/bindings.sh` has built."""

import json
import os
import subprocess

import pytest


def _serve(*arguments):
    program = os.environ["ANCHORHOLD_ATTESTED_SERVER"]
    server = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return server, json.loads(server.stdout.readline())


def _serving(*arguments):
    server, said = _serve(*arguments)
    try:
        yield said
    finally:
        server.stdin.close()
        server.wait(timeout=30)
        server.stdout.close()


@pytest.fixture
def guest():
    yield from _serving()


@pytest.fixture
def relay():
    """A server whose evidence is genuine and names another TLS key."""
    yield from _serving("relay")


def accepted(said, **changes):
    return {"measurements": [said["measurement"]], "dangerous_simulated_roots": said["roots"], **changes}
