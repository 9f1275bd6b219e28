"""A single-node Apache Kafka on this machine: jars by Maven, KRaft, loopback only.

For those who want Kafka's own retention and durability without Docker, and for tests.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from ridgeline.errors import Misconfigured
from ridgeline.local.broker import free_port

KAFKA_VERSION = "4.1.0"  # runs on Java 17 and newer
_LOG4J_VERSION = "2.25.1"
_DEPENDENCIES = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", _LOG4J_VERSION),
    ("org.apache.logging.log4j", "log4j-core", _LOG4J_VERSION),
)


def home() -> Path:
    """Folder whose `libs` holds the jars: `RIDGELINE_KAFKA_HOME` or the user's cache."""
    given = os.environ.get("RIDGELINE_KAFKA_HOME")
    return Path(given) if given else Path.home() / ".cache" / "ridgeline" / "kafka"


def _libs() -> Path:
    return home() / "libs"


def fetched() -> bool:
    """Whether the jars are there."""
    return any(_libs().glob("kafka_2.13-*.jar"))


def _program(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Misconfigured("PATH", f"needs {name}: {remedy}")
    return found


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
        for group, artifact, version in _DEPENDENCIES
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>ridgeline</groupId>"
        f"<artifactId>kafka</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def fetch() -> Path:
    """Get the jars through Maven and its configured repositories; returns their folder.

    Raises:
        Misconfigured: Maven is absent or could not resolve.
    """
    if fetched():
        return _libs()
    maven = _program("mvn", "install Maven and Java 17")
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home()) as work:
        (Path(work) / "pom.xml").write_text(_pom(), encoding="utf-8")
        goal = ["dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"]
        done = subprocess.run(
            [maven, "-q", "-B", *goal], cwd=work, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Misconfigured(
                "mvn", f"could not fetch Kafka: {(done.stdout + done.stderr)[-800:]}"
            )
        shutil.rmtree(_libs(), ignore_errors=True)
        (Path(work) / "libs").replace(_libs())
    return _libs()


def _properties(port: int, controller_port: int, data: Path) -> str:
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def command(port: int, folder: Path) -> list[str]:
    """Format the storage in `folder` when it is new; returns the broker's command line.

    Raises:
        Misconfigured: Java or the jars are absent, or the storage cannot be formatted.
    """
    java = _program("java", "install a Java 17 runtime")
    if not fetched():
        raise Misconfigured(
            "RIDGELINE_KAFKA_HOME", f"no jars in {_libs()}: run ridgeline kafka fetch"
        )
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    text = _properties(port, free_port(), (folder / "data").resolve())
    properties.write_text(text, encoding="utf-8")
    run = [java, "-Xmx512m", "-cp", str(_libs() / "*")]
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster}"]
    done = subprocess.run(
        [*run, *tool, f"--config={properties}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Misconfigured("RIDGELINE_LOCAL_HOME", f"cannot format {folder}: {done.stderr[-800:]}")
    return [*run, "kafka.Kafka", str(properties)]
