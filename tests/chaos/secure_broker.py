"""A broker with more listeners: one with TLS, user, password and rights, one that leads nowhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from support.kafka_broker import KafkaBroker, java
from support.process import free_port

USER, PASSWORD = "worker", "planted-kafka-password"
# The plain listener, which the tests use, may do everything. Who comes in by LOST is told a name
# of the leader that does not resolve.
MORE = """\
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secure},LOST://127.0.0.1:{lost},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secure},LOST://leader.invalid:{lost}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,LOST:PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class SecureBroker(KafkaBroker):
    """User `worker` may log in, and has no rights until they are granted."""

    def _write_properties(self) -> None:
        super()._write_properties()
        self.secure_port = free_port()
        self.lost_port = free_port()
        self.certificate = self.folder / "certificate.pem"
        keystore = self.folder / "keystore.pem"
        self._make_certificate(keystore)
        lines = self._properties.read_text().splitlines()
        known = dict(line.split("=", 1) for line in lines if line)
        more = MORE.format(
            port=self.port,
            secure=self.secure_port,
            lost=self.lost_port,
            controller=known["controller.quorum.bootstrap.servers"].rsplit(":", 1)[1],
            keystore=keystore,
            user=USER,
            password=PASSWORD,
        )
        replaced = {line.split("=", 1)[0] for line in more.splitlines()}
        kept = [line for line in lines if line.split("=", 1)[0] not in replaced]
        self._properties.write_text("\n".join([*kept, more]))

    def _make_certificate(self, keystore: Path) -> None:
        key = self.folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        keystore.write_text(key.read_text() + self.certificate.read_text())

    def _format(self) -> None:
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        command = java("kafka.tools.StorageTool", *self._shared_classes())
        command += ["format", "--standalone", f"--cluster-id={self.cluster_id}"]
        command += ["-c", str(self._properties), "--add-scram", scram]
        with self.log.open("ab") as output:
            subprocess.run(command, stdout=output, stderr=output, check=True)

    @property
    def secure_address(self) -> str:
        return f"127.0.0.1:{self.secure_port}"

    @property
    def lost_address(self) -> str:
        """Answers questions, but its leaders are at a name that does not resolve."""
        return f"127.0.0.1:{self.lost_port}"

    def client_properties(self, mechanism: str = "PLAIN", password: str = PASSWORD) -> str:
        return (
            "security.protocol=SASL_SSL\n"
            f"ssl.ca.location={self.certificate}\n"
            f"sasl.mechanisms={mechanism}\nsasl.username={USER}\nsasl.password={password}\n"
        )

    def _may(self, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
        return AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{USER}",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )

    def grant(self, topic: str, dead_letter_topic: str, group: str) -> None:
        """What the documentation says that a worker needs."""
        self.allow_topic(topic, AclOperation.DESCRIBE, AclOperation.READ)
        self.allow_topic(dead_letter_topic, AclOperation.DESCRIBE, AclOperation.WRITE)
        self.allow_group(group, AclOperation.READ)

    def allow_topic(self, topic: str, *operations: AclOperation) -> None:
        self._allow([self._may(ResourceType.TOPIC, topic, one) for one in operations])

    def allow_group(self, group: str, *operations: AclOperation) -> None:
        self._allow([self._may(ResourceType.GROUP, group, one) for one in operations])

    def _allow(self, rights: list[AclBinding]) -> None:
        admin = self.admin()  # outcomes need it alive
        for outcome in admin.create_acls(rights).values():
            outcome.result(20)
