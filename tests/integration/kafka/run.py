"""Run a real Apache Kafka broker (KRaft, one node) in the foreground: `python run.py DIRECTORY PORT CONTROLLER_PORT`.

With a fourth argument it is a secured one: a JSON file that says the `port` of a listener for SASL_SSL (by
SCRAM-SHA-512), the `keystore` (PEM: key and certificate) and the `users` with their passwords. There nobody may do
anything that no ACL allows, but the user `admin`.

It needs Java 17 or newer and Maven, and nothing of Plimsoll. The jars come through Maven once and are kept in the
user's cache (43 MB); the data lies in DIRECTORY, which has to be new, and stays there. Once all is prepared this
process becomes the broker: its number is the broker's, and SIGTERM stops it. Loopback only, 512 MB of heap.

Exit code 77: this machine lacks something; the last line on standard error says what.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
CANNOT_RUN = 77
JAVA_LEAST = 17
MAVEN_SECONDS = 100

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{secured}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secured}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""
# The broker speaks to itself in plain, as ANONYMOUS, which nobody is who comes through SASL_SSL.
SECURED_PROPERTIES = """\
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\\
  org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
"""


def main() -> None:
    """Prepare everything, then become the broker."""
    directory, port, controller_port = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    secured = json.loads(Path(sys.argv[4]).read_text(encoding="utf-8")) if len(sys.argv) > 4 else None
    listener = f",SASL_SSL://127.0.0.1:{secured['port']}" if secured else ""
    said = PROPERTIES.format(port=port, controller_port=controller_port, secured=listener, data=directory / "data")
    if secured:
        said += SECURED_PROPERTIES.format(keystore=secured["keystore"])
    become_broker(directory, said, secured["users"] if secured else {})


def become_broker(directory: Path, said: str, users: Mapping[str, str]) -> NoReturn:
    """Format the storage that these properties name, then be the broker that they describe; `users`: by password."""
    java = find_java()
    classpath = f"{fetch_jars()}/*"
    directory.mkdir(parents=True, exist_ok=True)
    properties = directory / "server.properties"
    properties.write_text(said, encoding="utf-8")
    options = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath]
    storage = ["kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(properties)]
    for name, password in users.items():
        storage += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
    subprocess.run([java, "-XX:TieredStopAtLevel=1", *options, *storage], check=True)
    os.execv(java, [java, "-Xms256m", "-Xmx512m", *options, "kafka.Kafka", str(properties)])


def find_java() -> str:
    """The Java on PATH, if it is new enough for Kafka 4."""
    java = shutil.which("java")
    # macOS has a `java` that only says there is none.
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False) if java else None
    if java is None or answer is None or answer.returncode:
        cannot_run(f"no Java {JAVA_LEAST} on PATH")
    version = re.search(r'version "(\d+)', answer.stderr)
    if version is None or int(version[1]) < JAVA_LEAST:
        cannot_run(f"no Java {JAVA_LEAST} on PATH, only {answer.stderr.splitlines()[0]}")
    return java


def fetch_jars() -> Path:
    """The folder of jars in the user's cache, filled by Maven the first time."""
    version = re.search("<kafka.version>(.+)</kafka.version>", (HERE / "pom.xml").read_text(encoding="utf-8"))
    assert version is not None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plimsoll"
    jars = cache / f"kafka-{version[1]}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        cannot_run("no Maven (mvn) on PATH")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as fetched:
        command = [maven, "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}/jars"]
        try:
            subprocess.run([*command, *options], check=True, timeout=MAVEN_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            cannot_run(f"Maven could not fetch Apache Kafka {version[1]}")
        try:
            # Whole or not at all, so that an interrupted fetch is never taken for a complete one.
            Path(fetched, "jars").rename(jars)
        except OSError:
            if not jars.is_dir():  # Somebody else was quicker; theirs is as good.
                raise
    return jars


def cluster_id() -> str:
    """A fresh cluster id, spelled as Kafka does."""
    # Kafka's own never begin with a dash, which a command line would take for an option.
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def cannot_run(reason: str) -> NoReturn:
    print(reason, file=sys.stderr, flush=True)
    sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
