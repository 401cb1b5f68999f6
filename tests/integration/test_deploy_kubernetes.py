"""What deploy/kubernetes would put into a cluster, without one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from support import kustomize
from support.paths import TREE, program

KUBERNETES = TREE / "deploy" / "kubernetes"
SCHEDULED = "staging with a schedule"
OVERLAYS = ["staging", "staging/setup", "production", "production/setup", SCHEDULED]
WORKERS = ["staging", "production"]
VERSIONS = ["1.35", "1.36", "1.37"]
OWN_SCHEMAS = {"ScaledObject", "PodMonitor", "PrometheusRule", "TriggerAuthentication"}
INSTALL = TREE / "deploy" / "install.md"
CLOSE_SECONDS = 10  # after DRAIN_SECONDS the worker ends itself: worker/service/service.c

# The first one may have to compile kustomize.
pytestmark = pytest.mark.timeout(900)

Document = dict[str, Any]


@cache
def overlay(name: str) -> list[Document]:
    if name == SCHEDULED:
        with tempfile.TemporaryDirectory() as folder:
            return kustomize.build(scheduled(Path(folder)))
    return kustomize.build(KUBERNETES / "overlays" / name)


def scheduled(folder: Path) -> Path:
    """An overlay with the schedule, made as the guide and the component say."""
    shutil.copytree(KUBERNETES, folder / "kubernetes")
    made = folder / "kubernetes" / "overlays" / "staging"
    component = (KUBERNETES / "components/schedule/kustomization.yaml").read_text()
    comment = [line[2:] for line in component.splitlines() if line.startswith("#   ")]
    patch = yaml.safe_load("\n".join(comment).replace("NAME", '"EU, UK"'))
    text = yaml.safe_load((made / "kustomization.yaml").read_text())
    text["components"].insert(0, "../../components/schedule")
    (made / "kustomization.yaml").write_text(yaml.safe_dump({**text, **patch}))
    return made


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def only(documents: list[Document], kind: str) -> Document:
    found = of_kind(documents, kind)
    assert len(found) == 1, [document["metadata"]["name"] for document in found]
    return found[0]


def pod_templates(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]
        if document["kind"] == "CronJob":
            job = document["spec"]["jobTemplate"]["spec"]
            yield document["metadata"]["name"], job["template"]


def containers(template: Document) -> list[Document]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def settings_of(documents: list[Document]) -> dict[str, str]:
    settings = only(documents, "ConfigMap")["data"]
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_in_the_newest_versions(name: str, version: str) -> None:
    documents = [d for d in overlay(name) if d["kind"] not in OWN_SCHEMAS]
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_resources_of_operators_are_valid(name: str) -> None:
    for document in overlay(name):
        if document["kind"] in OWN_SCHEMAS:
            path = KUBERNETES / "schemas" / f"{document['kind'].lower()}.schema.json"
            jsonschema.validate(document, json.loads(path.read_text()))


def test_production_scales_and_is_watched_and_staging_needs_no_operator() -> None:
    operators = OWN_SCHEMAS - {"TriggerAuthentication"}
    assert {d["kind"] for d in overlay("production")} >= operators
    assert not OWN_SCHEMAS & {d["kind"] for d in overlay("staging")}


def test_the_schemas_of_operators_refuse_what_they_do_not_know() -> None:
    scaled = json.loads(json.dumps(only(overlay("production"), "ScaledObject")))
    schema = json.loads((KUBERNETES / "schemas" / "scaledobject.schema.json").read_text())
    del scaled["spec"]["triggers"][0]["metadata"]["topicFromEnv"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled, schema)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_keeps_to_the_restricted_profile(name: str) -> None:
    for _, template in pod_templates(overlay(name)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all(set(v) & {"secret", "emptyDir", "configMap"} for v in spec["volumes"])
        for container in containers(template):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_the_namespace_holds_pods_to_the_restricted_profile_and_belongs_to_no_overlay() -> None:
    namespace = yaml.safe_load((KUBERNETES / "namespace.yaml").read_text())
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name in OVERLAYS:
        assert {d["metadata"]["namespace"] for d in overlay(name)} == {namespace["metadata"]["name"]}
        # `kubectl delete -k` must not take the key that opens every stored key.
        assert not {"Namespace", "Secret"} & {d["kind"] for d in overlay(name)}


@pytest.mark.parametrize("name", WORKERS)
def test_set_up_can_be_deleted_and_made_again_while_the_workers_run(name: str) -> None:
    def identities(documents: list[Document]) -> set[tuple[str, str]]:
        return {(d["kind"], d["metadata"]["name"]) for d in documents}

    assert not identities(overlay(name)) & identities(overlay(f"{name}/setup"))
    own = only(overlay(f"{name}/setup"), "ConfigMap")
    assert own["data"] == only(overlay(name), "ConfigMap")["data"]
    # A Job's template cannot be changed: the guides delete it first.
    for guide in (INSTALL, TREE / "deploy" / "upgrade.md"):
        commands = re.findall(r"kubectl (delete|apply) -k \S+/setup\b", guide.read_text())
        assert commands == ["delete", "apply"], guide


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_has_the_labels_that_kubernetes_recommends(name: str) -> None:
    project = (TREE / "CMakeLists.txt").read_text()
    (version,) = re.findall(r"^project\(klaviyo-worker VERSION (\S+)", project, re.MULTILINE)
    templates = [template for _, template in pod_templates(overlay(name))]
    for document in [*overlay(name), *templates]:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "klaviyo-worker"
        assert labels["app.kubernetes.io/part-of"] == "klaviyo-worker"
        assert labels["app.kubernetes.io/instance"]
        assert labels["app.kubernetes.io/managed-by"] == "kustomize"
        assert labels["app.kubernetes.io/version"] == version
    for template in templates:
        assert {c["image"] for c in containers(template)} == {f"klaviyo-worker:{version}"}


@pytest.mark.parametrize("name", WORKERS)
def test_the_grace_of_termination_is_longer_than_drain_and_close(name: str) -> None:
    template = only(overlay(name), "Deployment")["spec"]["template"]
    drain = int(settings_of(overlay(name))["DRAIN_SECONDS"])
    assert template["spec"]["terminationGracePeriodSeconds"] > drain + CLOSE_SECONDS


@pytest.mark.parametrize("name", WORKERS)
def test_a_new_version_is_up_before_an_old_worker_goes(name: str) -> None:
    strategy = only(overlay(name), "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("name", WORKERS)
def test_probes_ask_the_port_that_the_worker_listens_on(name: str) -> None:
    (worker,) = only(overlay(name), "Deployment")["spec"]["template"]["spec"]["containers"]
    port = {p["name"]: p["containerPort"] for p in worker["ports"]}["http"]
    assert settings_of(overlay(name))["HTTP_LISTEN"] == f"[::]:{port}"
    paths = {probe: worker[probe]["httpGet"] for probe in worker if probe.endswith("Probe")}
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "http"},
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


def documented_secrets() -> dict[str, set[str]]:
    """The files of each Secret that the guide makes."""
    text = INSTALL.read_text().replace("\\\n", " ")
    found = {}
    for name, words in re.findall(r"create secret generic (\S+) (.*)$", text, re.MULTILINE):
        keys = re.findall(r"--from-literal=([^= ]+)=|--from-file=([^= ]+)", words)
        found[name] = {literal or file for literal, file in keys}
    return found


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_come_as_files_and_never_as_variables(name: str) -> None:
    for _, template in pod_templates(overlay(name)):
        files = {
            f"{mount['mountPath']}/{key}"
            for container in containers(template)
            for mount in container["volumeMounts"]
            for volume in template["spec"]["volumes"]
            if volume["name"] == mount["name"] and "secret" in volume
            for key in documented_secrets()[volume["secret"]["secretName"]]
        }
        for container in containers(template):
            for variable in container["env"]:
                assert "valueFrom" not in variable
                if variable["name"].endswith("_FILE"):
                    assert variable["value"] in files
            assert all("secretRef" not in source for source in container["envFrom"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_setting_is_one_that_the_program_knows(name: str) -> None:
    help_text = subprocess.run(
        [program("klaviyo-worker"), "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]{4,}\b", help_text))
    given = set(settings_of(overlay(name)))
    for _, template in pod_templates(overlay(name)):
        for container in containers(template):
            given |= {variable["name"] for variable in container["env"]}
    assert given <= known


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_refer_to_the_settings_that_are_there(name: str) -> None:
    settings = only(overlay(name), "ConfigMap")["metadata"]["name"]
    for _, template in pod_templates(overlay(name)):
        for container in containers(template):
            assert container["envFrom"] == [{"configMapRef": {"name": settings}}]


def matches(selector: Document, template: Document) -> bool:
    wanted = selector.get("matchLabels", {})
    return bool(wanted.items() <= template["metadata"]["labels"].items())


@pytest.mark.parametrize("name", WORKERS)
def test_selectors_find_the_workers(name: str) -> None:
    documents = overlay(name)
    template = only(documents, "Deployment")["spec"]["template"]
    assert matches(only(documents, "Deployment")["spec"]["selector"], template)
    assert matches(only(documents, "PodDisruptionBudget")["spec"]["selector"], template)
    for monitor in of_kind(documents, "PodMonitor"):
        assert matches(monitor["spec"]["selector"], template)
    for constraint in template["spec"]["topologySpreadConstraints"]:
        assert matches(constraint["labelSelector"], template)


@pytest.mark.parametrize("name", WORKERS)
def test_the_network_denies_what_no_rule_allows(name: str) -> None:
    policies = of_kind(overlay(name), "NetworkPolicy")
    pods = [*pod_templates(overlay(name)), *pod_templates(overlay(f"{name}/setup"))]
    for _, template in pods:
        chosen = [p["spec"] for p in policies if matches(p["spec"]["podSelector"], template)]
        closed = [spec for spec in chosen if not {"ingress", "egress"} & spec.keys()]
        assert any(set(spec["policyTypes"]) == {"Ingress", "Egress"} for spec in closed)
        out = [rule for spec in chosen for rule in spec.get("egress", [])]
        assert {port["port"] for rule in out for port in rule["ports"]} == {53, 5353, 443, 5432, 9092}
        assert all(rule.get("ports") for rule in out)
        # Anywhere: names only, which caches on nodes and OpenShift answer at their own addresses.
        open_ports = [rule["ports"] for rule in out if not rule.get("to")]
        assert [{(p["protocol"], p["port"]) for p in ports} for ports in open_ports] == [
            {("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353)}
        ]


def test_replicas_are_left_to_whoever_scales() -> None:
    for name in WORKERS:  # an apply would set them back
        assert "replicas" not in only(overlay(name), "Deployment")["spec"]
    scaled = only(overlay("production"), "ScaledObject")["spec"]
    assert scaled["minReplicaCount"] >= 2
    (trigger,) = scaled["triggers"]
    servers = settings_of(overlay("production"))["KAFKA_BOOTSTRAP_SERVERS"]
    assert servers.endswith(":9093")
    assert trigger["metadata"]["tls"] == "enable"
    assert trigger["metadata"]["lagThreshold"] in ("1", "2")
    assert trigger["metadata"]["excludePersistentLag"] == "false"
    known = settings_of(overlay("production"))
    names = {v for k, v in trigger["metadata"].items() if k.endswith("FromEnv")}
    assert names == {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_GROUP_ID", "KAFKA_TOPIC"}
    assert names <= known.keys()
    down = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600


@pytest.mark.parametrize("name", ["staging/setup", "production/setup"])
def test_the_migration_has_a_database_user_of_its_own(name: str) -> None:
    spec = only(overlay(name), "Job")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] != "klaviyo-worker"
    secrets = [volume["secret"]["secretName"] for volume in spec["volumes"]]
    assert secrets == ["klaviyo-worker-migrate"]


def test_the_base_belongs_to_no_cluster() -> None:
    for folder in ("base", "setup"):
        for document in kustomize.build(KUBERNETES / folder):
            assert "namespace" not in document["metadata"]
            assert document["kind"] != "Namespace"


def arguments_of_the_job(documents: list[Document]) -> list[str]:
    (container,) = only(documents, "Job")["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def test_the_job_makes_tables_and_topics_and_without_the_component_tables_only(
    tmp_path: Path,
) -> None:
    assert arguments_of_the_job(kustomize.build(KUBERNETES / "setup")) == ["migrate"]
    for name in WORKERS:
        assert arguments_of_the_job(overlay(f"{name}/setup")) == ["migrate", "--topics"]
    words = arguments_of_the_job(chosen(tmp_path, "production/setup"))
    options = {word for word in words if word.startswith("--")}
    assert options == {"--topics", "--partitions", "--replication-factor"}
    # The program takes these words: it goes on to look for a database.
    done = subprocess.run(
        [program("klaviyo-worker"), *words],
        capture_output=True,
        text=True,
        env={"DATABASE_URL": "postgresql://127.0.0.1:1/none"},
        check=False,
    )
    assert done.returncode == 75, done.stderr


def test_the_alerts_of_the_operator_are_those_of_the_rules_file() -> None:
    rules = yaml.safe_load((TREE / "deploy/alerts/klaviyo-worker.rules.yaml").read_text())
    made = only(overlay("production"), "PrometheusRule")["spec"]
    assert made == rules, "stale: run deploy/kubernetes/components/prometheus/make-rules"


def test_a_schedule_publishes_what_the_overlay_names_and_needs_no_key() -> None:
    cron = only(overlay(SCHEDULED), "CronJob")["spec"]
    assert cron["schedule"] == "30 5 * * *" and cron["timeZone"] == "Etc/UTC"
    assert cron["concurrencyPolicy"] == "Forbid"
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == ["publish", "--export", "EU, UK"]
    assert [v["secret"]["secretName"] for v in pod["volumes"]] == ["klaviyo-worker-publish"]
    assert "SECRET_KEY_FILE" not in {v["name"] for v in container["env"]}
    # The worker's selectors do not find it.
    labels = cron["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "publish"
    codes = cron["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert codes["values"] == [1, 2] and codes["containerName"] == container["name"]
    done = subprocess.run(
        [program("klaviyo-worker"), *container["args"]],
        capture_output=True,
        text=True,
        env={"DATABASE_URL": "postgresql://127.0.0.1:1/none"},
        check=False,
    )
    assert done.returncode == 75, done.stderr


def links(documents: list[Document]) -> list[str]:
    groups = only(documents, "PrometheusRule")["spec"]["groups"]
    return [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]


def chosen(folder: Path, name: str, old: str = "", new: str = "") -> list[Document]:
    """An overlay with every choice that stands in its comments taken, and a text changed."""
    shutil.copytree(KUBERNETES, folder, dirs_exist_ok=True)
    for place in (name, f"{name}/site"):
        file = folder / "overlays" / place / "kustomization.yaml"
        if not file.exists():
            continue
        head, text = file.read_text().split("apiVersion:", 1)
        text = re.sub(r"^( *)# ", r"\1", text, flags=re.MULTILINE)
        file.write_text(f"{head}apiVersion:{text.replace(old, new) if old else text}")
    return kustomize.build(folder / "overlays" / name)


def test_links_of_alerts_lead_to_where_the_site_keeps_its_runbook(tmp_path: Path) -> None:
    assert all(re.match(r"https://[^#]+#\w+\Z", link) for link in links(overlay("production")))
    wiki = "https://wiki.example.com/ops/runbook.html"
    moved = links(chosen(tmp_path, "production", "https://runbooks.example/klaviyo-worker", wiki))
    fragments = [link.split("#")[1] for link in links(overlay("production"))]
    assert moved == [f"{wiki}#{fragment}" for fragment in fragments]


@pytest.mark.parametrize("name", WORKERS)
def test_every_choice_in_a_comment_is_one_that_works(name: str, tmp_path: Path) -> None:
    documents = chosen(tmp_path, name)
    for document in documents:
        if document["kind"] in OWN_SCHEMAS:
            path = KUBERNETES / "schemas" / f"{document['kind'].lower()}.schema.json"
            jsonschema.validate(document, json.loads(path.read_text()))
        else:
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    assert only(documents, "ServiceAccount")["imagePullSecrets"]
    spec = only(documents, "Deployment")["spec"]["template"]["spec"]
    assert spec["priorityClassName"]
    assert re.fullmatch(r"\S+/klaviyo-worker:\S+@sha256:[0-9a-f]{64}", spec["containers"][0]["image"])
    if name == "production":
        (trigger,) = only(documents, "ScaledObject")["spec"]["triggers"]
        login = only(documents, "TriggerAuthentication")
        assert trigger["authenticationRef"] == {"name": login["metadata"]["name"]}
        parameters = {p["parameter"] for p in login["spec"]["secretTargetRef"]}
        assert not parameters & trigger["metadata"].keys()  # KEDA refuses what is given twice
