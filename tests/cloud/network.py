"""Machines made of Linux namespaces, on a network of their own that nothing outside can reach.

A machine has its own network, process table, mounts, host name and disk (an overlay of this
machine's), and an sshd. Private addresses only. Needs root; everything started here is ended by its
process id.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
TOOLS = (
    "ip",
    "ss",
    "unshare",
    "setpriv",
    "nsenter",
    "nft",
    "rsync",
    "ssh",
    "ssh-keygen",
    "/usr/sbin/sshd",
)
OPERATOR = "172.31.255.254"
"""Address of whoever runs `ray up`, and of the emulated cloud: the end of the default VPC's range,
172.31.0.0/16.
"""

_CLONE_NEWNET = 0x40000000


def missing() -> str:
    """Why no machine can be made here; empty where it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return (
        f"not installed: {', '.join(lacking)}; `make test-cluster` installs them" if lacking else ""
    )


def run(*words: str, **options: object) -> str:
    """A command that must succeed; its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr or done.stdout}")
    return str(done.stdout)


def listen(namespace: str, host: str, port: int) -> socket.socket:
    """A socket that listens inside a network namespace; it stays there whichever thread uses it."""
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            with open(f"/run/netns/{namespace}", encoding="utf-8") as entry:
                if ctypes.CDLL(None, use_errno=True).setns(entry.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
            made.append(socket.create_server((host, port), backlog=128))
        except OSError as error:
            made.append(error)

    # a thread of its own: it never leaves the namespace again
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _sweep() -> None:
    """Remove the namespaces of labs whose process was killed; their machines died with it."""
    for line in run("ip", "netns", "list").splitlines():
        namespace = line.split()[0]
        owner = namespace.removeprefix("hop").partition("-")[0]
        if namespace.startswith("hop") and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            run("ip", "netns", "del", namespace)


@dataclass
class Machine:
    """One machine. `Network.start` makes it.

    Attributes:
        name: host name.
        address: private IP address.
        folder: its disk and its log.
        process: what holds its namespaces; the machine ends with it.
    """

    name: str
    address: str
    namespace: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def root(self) -> Path:
        """The machine's files, seen from outside, while it runs."""
        return Path(f"/proc/{self.first}/root")

    @property
    def first(self) -> int:
        """Its PID 1, as this machine counts."""
        children = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            .read_text(encoding="utf-8")
            .split()
        )
        return int(children[0])

    def run(self, *words: str, check: bool = True) -> str:
        """A command on the machine, as root; its output."""
        enter = [
            "nsenter",
            "--target",
            str(self.first),
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--root",
            "--wdns=/",
        ]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout + done.stderr

    def end(self) -> None:
        """Take it away without a word: every process of it gets SIGKILL, its disk is gone."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        for _ in range(50):  # the namespace's processes are killed by the kernel, a moment later
            if not run("ip", "netns", "pids", self.namespace).split():
                break
            time.sleep(0.1)
        run("ip", "netns", "del", self.namespace)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Network:
    """The lab's network, with the operator's end of it.

    Attributes:
        folder: where disks, keys and the operator's home lie; a real file system, not a tmpfs or an
            overlay.
        name: part of every namespace's name, so that two labs do not meet.
    """

    folder: Path
    name: str = field(default_factory=lambda: f"hop{os.getpid()}")
    machines: dict[str, Machine] = field(default_factory=dict)
    _made: int = 0

    @property
    def home(self) -> Path:
        """The operator's home folder."""
        return self.folder / "home"

    @property
    def shared(self) -> Path:
        """A folder that all machines have as ``/shared``."""
        return self.folder / "shared"

    @property
    def image(self) -> Path:
        """The disk image."""
        return self.folder / "image"

    def __enter__(self) -> "Network":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        _sweep()
        run("ip", "netns", "add", self.name)
        for words in (
            "link set lo up",
            "link add bridge0 type bridge",
            f"addr add {OPERATOR}/16 dev bridge0",
            "link set bridge0 up",
        ):
            run("ip", "-n", self.name, *words.split())
        self.home.mkdir(parents=True)
        self.shared.mkdir(mode=0o777)
        self.shared.chmod(0o777)
        (self.home / ".ssh").mkdir(mode=0o700)
        run(
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            str(self.home / ".ssh" / "id_ed25519"),
        )
        run("bash", str(HERE / "image.sh"), str(self.image), sys.prefix, str(PROJECT / "hopsearch"))

    def __exit__(self, *_: object) -> None:
        for machine in list(self.machines.values()):
            self.end(machine.name)
        run("ip", "netns", "del", self.name)
        subprocess.run(["umount", "--lazy", str(self.image)], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, address: str, key: str = "", profile: str = "") -> Machine:
        """Start a machine and wait for its sshd.

        Args:
            name: host name.
            address: in 172.31.0.0/16.
            key: public SSH key of its user ``ubuntu``; the operator's own by default.
            profile: shell lines that every login reads.
        """
        self._made += 1
        namespace, link, folder = (
            f"{self.name}-{self._made}",
            f"m{self._made}",
            self.folder / "machines" / name,
        )
        folder.mkdir(parents=True)
        (folder / "name").write_text(name)
        (folder / "authorized_keys").write_text(
            key or (self.home / ".ssh" / "id_ed25519.pub").read_text()
        )
        (folder / "profile.sh").write_text(profile)
        run("ip", "netns", "add", namespace)
        run(
            "ip",
            "link",
            "add",
            link,
            "netns",
            self.name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            namespace,
        )
        run("ip", "-n", self.name, "link", "set", link, "master", "bridge0", "up")
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", namespace, "addr", "add", f"{address}/16", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        # leads nowhere; Ray finds its own address by it
        run("ip", "-n", namespace, "route", "add", "default", "via", OPERATOR)
        inside = [
            "unshare",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
        ]
        init = ["bash", str(HERE / "machine.sh"), str(folder), str(self.image)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "ip",
                    "netns",
                    "exec",
                    namespace,
                    *inside,
                    *init,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        machine = self.machines[name] = Machine(name, address, namespace, folder, process)
        for _ in range(100):
            if (
                self.operator(
                    "bash", "-c", f"exec 3<>/dev/tcp/{address}/22", check=False
                ).returncode
                == 0
            ):
                return machine
            time.sleep(0.1)
        raise RuntimeError(f"{name}: no sshd: {(folder / 'log').read_text()}")

    def end(self, name: str) -> None:
        """Take a machine away."""
        self.machines.pop(name).end()

    def words(self, *words: str) -> list[str]:
        """A command line that runs on the operator's end."""
        return ["ip", "netns", "exec", self.name, *words]

    def operator(
        self,
        *words: str,
        check: bool = True,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """A command on the operator's end; an error with its output where it fails."""
        done = subprocess.run(
            self.words(*words), capture_output=True, text=True, env=env, cwd=cwd, timeout=timeout
        )
        if check and done.returncode:
            raise RuntimeError(
                f"{' '.join(words)} ended with "
                f"{done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def address(self, number: int) -> str:
        """An address for a machine that no cloud gives one."""
        return f"172.31.0.{10 + number}"
