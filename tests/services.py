"""Services that tests bring up for themselves, on loopback: PostgreSQL from the system's package,
an emulated S3.
"""

import glob
import logging
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory) -> Iterator[str]:
    """URL of a server of the test's own, from Debian's package; another user runs it where the test
    is root's.
    """
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        pytest.skip("not installed: PostgreSQL; `make services` brings it")
    pytest.importorskip("psycopg")
    # a socket's path must be short, and another user reach it
    folder = Path("/tmp") / f"hopsearch-pg-{os.getpid()}"
    folder.mkdir(mode=0o700)
    become = []
    if os.getuid() == 0:
        user = next(
            name
            for name in ("postgres", "nobody")
            if any(entry.pw_name == name for entry in pwd.getpwall())
        )
        shutil.chown(folder, user)
        become = ["setpriv", f"--reuid={user}", "--clear-groups"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = {"cwd": folder, "check": True, "capture_output": True, "text": True, "timeout": 60}
    initdb = [
        *become,
        f"{found[-1]}/initdb",
        "-D",
        str(folder / "data"),
        "-U",
        "bob",
        "-A",
        "trust",
        "-N",
    ]
    subprocess.run(initdb, **words)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    control = [
        *become,
        f"{found[-1]}/pg_ctl",
        "-D",
        str(folder / "data"),
        "-l",
        str(folder / "log"),
        "-w",
    ]
    subprocess.run(
        [*control, "-o", options, "start"],
        **words | {"capture_output": False, "stdout": subprocess.DEVNULL},
    )
    yield f"postgresql+psycopg://bob@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **words)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3(monkeypatch) -> Iterator[str]:
    """A bucket of an emulated S3, its address and keys in the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-west-2",
    }
    for name, value in ({"AWS_ENDPOINT_URL": f"http://{host}:{port}"} | keys).items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(
        Bucket=f"own{port}", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    yield f"s3://own{port}/runs"
    server.stop()
