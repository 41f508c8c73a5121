"""An emulated Amazon: EC2, IAM, STS and S3 by moto, with a real machine of the lab behind every
instance.

What moto leaves out is added: machines that boot with the instance's key and address, security
groups that keep others out, the instance metadata service (IMDSv2) with the role's credentials and
the spot notice, and refusals for want of capacity. There are no images, no prices, and rights are
not enforced: `Cloud.calls` tells who asked for what.
"""

import datetime
import io
import json
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.cloud.network import OPERATOR, Machine, Network, listen, run

REGION = "us-west-2"
PORT = 5000
ENDPOINT = f"http://{OPERATOR}:{PORT}"
METADATA = "169.254.169.254"
NOBODY = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab", "AWS_DEFAULT_REGION": REGION}
"""Keys of the operator; moto lets everybody in."""


@dataclass(frozen=True)
class Call:
    """What was asked of the cloud.

    Attributes:
        at: seconds, monotonic.
        action: e.g. ``RunInstances``, or method and path for S3.
        key: access key of whoever asked.
        words: the action's parameters.
        refused: for want of capacity.
    """

    at: float
    action: str
    key: str
    words: dict[str, str]
    refused: bool = False

    @property
    def market(self) -> str:
        """Of a RunInstances: type and market, ``g6.xlarge/spot``."""
        market = self.words.get("InstanceMarketOptions.MarketType", "on-demand")
        return f"{self.words.get('InstanceType')}/{market}"


@dataclass
class Cloud:
    """The cloud and its machines.

    Attributes:
        network: where machines are made.
        calls: every call so far.
        no_capacity: what RunInstances refuses: ``g6.xlarge/spot``, as `Call.market` says it.
    """

    network: Network
    calls: list[Call] = field(default_factory=list)
    no_capacity: set[str] = field(default_factory=set)
    _servers: list[BaseWSGIServer] = field(default_factory=list)
    _machines: dict[str, Machine] = field(default_factory=dict)
    _facts: dict[str, dict[str, str]] = field(default_factory=dict)
    _changed: threading.Event = field(default_factory=threading.Event)
    _over: bool = False
    failure: Exception | None = None

    def __enter__(self) -> "Cloud":
        os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "false")
        self._app = DomainDispatcherApplication(create_backend_app)
        for socket, host in (
            (listen(self.network.name, OPERATOR, PORT), OPERATOR),
            (None, "127.0.0.1"),
        ):
            fd = socket.detach() if socket else None
            server = make_server(
                host,
                0 if fd is None else PORT,
                self._serve,
                threaded=True,
                request_handler=_Quiet,
                fd=fd,
            )
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._changed.set()
        self._keeper.join()
        address = f"http://127.0.0.1:{self._servers[1].port}/moto-api/reset"
        urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=10).close()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def client(self, service: str) -> Any:
        """A boto3 client, from outside the network."""
        endpoint = f"http://127.0.0.1:{self._servers[1].port}"
        words = {key.lower(): value for key, value in NOBODY.items() if key != "AWS_DEFAULT_REGION"}
        return boto3.client(service, region_name=REGION, endpoint_url=endpoint, **words)

    def instances(self, kind: str = "") -> list[dict[str, Any]]:
        """Running instances; of a Ray node kind, ``head`` or ``worker``, where given."""
        wanted = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        wanted += [{"Name": "tag:ray-node-type", "Values": [kind]}] if kind else []
        pages = self.client("ec2").describe_instances(Filters=wanted)["Reservations"]
        return [instance for page in pages for instance in page["Instances"]]

    def machine(self, instance: dict[str, Any]) -> Machine:
        """The machine of an instance."""
        return self._machines[instance["InstanceId"]]

    def wait(self, true: Callable[[], Any], seconds: float, what: str) -> Any:
        """What is awaited, once it is there.

        Raises:
            AssertionError: not within so many seconds.
        """
        end = time.monotonic() + seconds
        while not (found := true()):
            if self.failure:
                raise self.failure
            assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
            time.sleep(0.25)
        return found

    def announce(self, instance: dict[str, Any], seconds: float) -> None:
        """Give an instance the notice that it will be taken away."""
        when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        self._facts[instance["InstanceId"]]["notice"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")

    def take_away(self, instance: dict[str, Any]) -> None:
        """End an instance, as Amazon does with spot ones: its machine dies at once."""
        self.client("ec2").terminate_instances(InstanceIds=[instance["InstanceId"]])

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        words: dict[str, str] = {}
        if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            words = dict(urllib.parse.parse_qsl(body.decode()))
        action = words.get("Action") or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        key = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        call = Call(time.monotonic(), action, key, words)
        if action == "RunInstances" and call.market in self.no_capacity:
            self.calls.append(Call(call.at, action, key, words, refused=True))
            return _refusal(start)
        self.calls.append(call)
        answer = self._app(environ, start)
        if action in ("RunInstances", "TerminateInstances", "StopInstances"):
            self._changed.set()
        return answer  # type: ignore[no-any-return]

    def _keep(self) -> None:
        # Gives every instance a machine, and takes the machine away with the instance.
        while not self._over:
            self._changed.wait(1.0)
            self._changed.clear()
            try:
                self._look()
            except Exception as error:
                self.failure = error
                return

    def _look(self) -> None:
        there = {instance["InstanceId"]: instance for instance in self.instances()}
        for identifier in set(self._machines) - set(there):
            self._machines.pop(identifier)
            self._facts.pop(identifier)
            self.network.end(identifier)
        for identifier in set(there) - set(self._machines):
            self._machines[identifier] = self._boot(there[identifier])
        self._guard(there)

    def _guard(self, there: dict[str, dict[str, Any]]) -> None:
        # Every machine lets in what its security groups allow, and nothing else.
        members: dict[str, list[str]] = {}
        for instance in there.values():
            for group in instance["SecurityGroups"]:
                members.setdefault(group["GroupId"], []).append(instance["PrivateIpAddress"])
        groups = {
            group["GroupId"]: group
            for group in self.client("ec2").describe_security_groups()["SecurityGroups"]
        }
        for identifier, instance in there.items():
            permissions = [
                rule
                for group in instance["SecurityGroups"]
                for rule in groups[group["GroupId"]]["IpPermissions"]
            ]
            rules = "\n".join(
                f"add rule inet guard in {rule}" for rule in _firewall(permissions, members)
            )
            namespace = self._machines[identifier].namespace
            run("ip", "netns", "exec", namespace, "nft", "-f", "-", input=f"{_CLOSED}\n{rules}\n")

    def _boot(self, instance: dict[str, Any]) -> Machine:
        pairs = self.client("ec2").describe_key_pairs(
            KeyNames=[instance["KeyName"]], IncludePublicKey=True
        )["KeyPairs"]
        profile = instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2]
        facts = {
            "id": instance["InstanceId"],
            "type": instance["InstanceType"],
            "role": self._role(profile),
        }
        facts |= {"zone": instance["Placement"]["AvailabilityZone"], "notice": ""}
        self._facts[instance["InstanceId"]] = facts
        lines = f"export AWS_ENDPOINT_URL={ENDPOINT} AWS_DEFAULT_REGION={REGION}\n"
        machine = self.network.start(
            facts["id"], instance["PrivateIpAddress"], pairs[0]["PublicKey"] + "\n", lines
        )
        machine.run("ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
        metadata = ThreadingHTTPServer((METADATA, 80), _metadata(facts), bind_and_activate=False)
        metadata.socket.close()
        metadata.socket = listen(machine.namespace, METADATA, 80)
        threading.Thread(target=metadata.serve_forever, daemon=True).start()
        return machine

    def _role(self, profile: str) -> str:
        if not profile:
            return ""
        roles = self.client("iam").get_instance_profile(InstanceProfileName=profile)[
            "InstanceProfile"
        ]["Roles"]
        return str(roles[0]["RoleName"]) if roles else ""


_CLOSED = """
add table inet guard
flush table inet guard
add chain inet guard in { type filter hook input priority 0; policy drop; }
add rule inet guard in ct state established,related accept
add rule inet guard in iif lo accept
"""


def _firewall(permissions: list[dict[str, Any]], members: dict[str, list[str]]) -> Iterable[str]:
    """A security group's permissions in nftables' words."""
    for rule in permissions:
        ports = (
            ""
            if rule["IpProtocol"] == "-1"
            else f"{rule['IpProtocol']} dport {rule['FromPort']}-{rule['ToPort']} "
        )
        sources = [source["CidrIp"] for source in rule.get("IpRanges", [])]
        sources += [
            address
            for pair in rule.get("UserIdGroupPairs", [])
            for address in members.get(pair["GroupId"], [])
        ]
        if sources:
            yield f"ip saddr {{ {', '.join(sources)} }} {ports}accept"


def _refusal(start: Callable[..., Any]) -> Iterable[bytes]:
    body = (
        b"<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code><Message>We currently "
        b"do not have sufficient "
        b"capacity.</Message></Error></Errors><RequestID>lab</RequestID></Response>"
    )
    start(
        "500 Internal Server Error",
        [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))],
    )
    return [body]


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing: `Cloud.calls` has it."""


def _metadata(facts: dict[str, str]) -> type[BaseHTTPRequestHandler]:
    # IMDSv2 of one machine: nothing without the session's token.
    class Handler(BaseHTTPRequestHandler):
        def _answer(self, code: int, text: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_PUT(self) -> None:
            self._answer(*((200, "session") if self.path == "/latest/api/token" else (404, "")))

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") != "session":
                return self._answer(401)
            answers = _answers(facts)
            path = self.path.removeprefix("/latest/meta-data").rstrip("/")
            return self._answer(*((200, answers[path]) if path in answers else (404, "")))

    return Handler


def _answers(facts: dict[str, str]) -> dict[str, str]:
    answers = {
        "/instance-id": facts["id"],
        "/instance-type": facts["type"],
        "/placement/availability-zone": facts["zone"],
    }
    answers["/placement/region"] = REGION
    if facts["notice"]:
        answers["/spot/instance-action"] = json.dumps(
            {"action": "terminate", "time": facts["notice"]}
        )
    if role := facts["role"]:
        until = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        keys = {
            "AccessKeyId": f"ASIA-{role}",
            "SecretAccessKey": "lab",
            "Token": "lab",
            "Expiration": until,
            "LastUpdated": until,
        }
        answers["/iam/security-credentials"] = role
        answers[f"/iam/security-credentials/{role}"] = json.dumps(
            {"Code": "Success", "Type": "AWS-HMAC", **keys}
        )
    return answers
