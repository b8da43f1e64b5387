"""The Kubernetes manifests, as far as they can be judged without a cluster: they build, a cluster's own schemas take
them, what they run exists, and what is said in two places agrees.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import certifi
import httpx
import jsonschema
import kubernetes_validate
import pytest
import yaml
from referencing import Registry, Resource

from api.__main__ import FINISH_SECONDS, _danger
from api.roles import OPEN_PATHS
from embedded.store import free_port
from engine.drain import DRAIN_SECONDS_HARD
from engine.health import answer
from engine.vitals import Vitals
from plimsoll import topics
from plimsoll.settings import documented, load, secret_files

if TYPE_CHECKING:
    from tests.conftest import Processes

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("development", "production")
PROGRAMS = {each.name for each in entry_points(group="console_scripts") if each.dist and each.dist.name == "plimsoll"}
NAME = "app.kubernetes.io/name"
VERSIONS = sorted(set(kubernetes_validate.utils.all_versions()), key=lambda each: int(each.split(".")[1]))[-3:]
"""The newest three minor versions of Kubernetes whose schemas there are: those that are supported at one time."""
NO_SCHEMA = {"PodMonitor", "PrometheusRule"}
"""Kinds that the Prometheus Operator brings to a cluster."""

Object = dict[str, Any]
Way = tuple[str, int]
"""What is asked for, or whom; and at which port."""


# --- building ---------------------------------------------------------------------------------------------------------


def kustomize() -> list[str]:
    """The command that builds an overlay; a skip, or a failure where it is required, on a machine without one."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    if os.environ.get("REQUIRE_KUSTOMIZE") == "1":
        pytest.fail("REQUIRE_KUSTOMIZE=1, but there is neither kustomize nor kubectl here", pytrace=False)
    pytest.skip("neither kustomize nor kubectl here")


def build(directory: Path) -> list[Object]:
    done = subprocess.run([*kustomize(), directory], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def ours(program: str, *arguments: str) -> str:
    """What a program of ours prints; once for all who ask."""
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"},
    )
    return done.stdout


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of them in which the component that production has commented out is switched on."""
    kustomize()
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(MANIFESTS, copy)
    production = copy / "overlays" / "production" / "kustomization.yaml"
    text = production.read_text(encoding="utf-8")
    assert "\n# components:\n#   - " in text
    production.write_text(text.replace("# components:\n#   - ", "components:\n  - "), encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def built(manifests: Path) -> dict[str, list[Object]]:
    return {overlay: build(manifests / "overlays" / overlay) for overlay in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest, built: dict[str, list[Object]]) -> list[Object]:
    return built[request.param]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    """What each workload runs: its pod's `spec`, by the workload's name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def container(pod: Object) -> Object:
    (one,) = pod["containers"]
    return one


def of_us(objects: list[Object]) -> dict[str, Object]:
    """The pods that run a program of ours."""
    return {name: pod for name, pod in pods(objects).items() if "plimsoll:" in container(pod)["image"]}


def option(pod: Object, flag: str) -> str:
    command = container(pod)["command"]
    return str(command[command.index(flag) + 1])


# --- the schemas of Kubernetes ----------------------------------------------------------------------------------------


@functools.cache
def _schemas(version: str) -> tuple[Path, Registry[Any]]:
    """Where the strict schemas of one version lie, and what they refer to."""
    folder = importlib.resources.files(kubernetes_validate) / "kubernetes-json-schema" / f"v{version}-local-strict"
    directory = Path(str(folder))
    definitions = Resource.from_contents(json.loads((directory / "_definitions.json").read_text(encoding="utf-8")))
    return directory, definitions @ Registry()


def refused(each: Object, version: str) -> list[str]:
    """What a version of Kubernetes has against an object, fields it does not know included."""
    directory, registry = _schemas(version)
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", each["apiVersion"])
    schema = json.loads((directory / f"{each['kind'].lower()}-{group}.json").read_text(encoding="utf-8"))
    judge = jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)
    return [f"{each['kind']} {each['metadata']['name']}: {error.message}" for error in judge.iter_errors(each)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_knows_every_field(objects: list[Object], version: str) -> None:
    assert not [reason for each in objects if each["kind"] not in NO_SCHEMA for reason in refused(each, version)]


def test_a_field_that_kubernetes_does_not_know_is_found(objects: list[Object]) -> None:
    engine = json.loads(json.dumps(of_kind(objects, "StatefulSet")["engine"]))
    container(engine["spec"]["template"]["spec"])["livenessProb"] = {}
    assert "livenessProb" in str(refused(engine, VERSIONS[-1]))


# --- what is run ------------------------------------------------------------------------------------------------------


def test_every_image_is_pinned_and_ours_to_the_projects_version(objects: list[Object]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    images = {container(pod)["image"] for pod in pods(objects).values()}
    assert all(re.search(r":\d+\.\d+\.\d+(-\w+)?$", image) for image in images)
    assert {image.rpartition(":")[2] for image in images if "plimsoll:" in image} == {project["version"]}


def test_what_a_container_runs_is_a_program_of_ours_with_flags_that_it_knows(objects: list[Object]) -> None:
    for name, pod in of_us(objects).items():
        program, *arguments = container(pod)["command"]
        assert program in PROGRAMS, name
        told = ours(program, *(word for word in arguments[:1] if not word.startswith("-")), "--help")
        for flag in (word for word in arguments if word.startswith("--")):
            assert re.search(rf"{flag}\b", told), f"{program} knows no {flag}"


def test_the_servers_beside_it_are_those_of_docker_compose(built: dict[str, list[Object]]) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name in ("kafka", "redis"):
        assert container(pods(built["development"])[name])["image"] == services[name]["image"]
    redis = container(pods(built["development"])["redis"])["args"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"


# --- how many workers -------------------------------------------------------------------------------------------------


def test_there_are_as_many_workers_as_pods_and_as_each_is_told(objects: list[Object]) -> None:
    engine = of_kind(objects, "StatefulSet")["engine"]
    assert option(engine["spec"]["template"]["spec"], "--workers") == str(engine["spec"]["replicas"])
    assert 1 <= engine["spec"]["replicas"] <= topics.PORTFOLIO_UPDATES.partitions


def test_the_number_of_workers_is_said_once(manifests: Path, tmp_path: Path) -> None:
    shutil.copytree(manifests, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "production"
    text = (overlay / "kustomization.yaml").read_text(encoding="utf-8")
    changed = text.replace("{name: engine, count: 4}", "{name: engine, count: 7}")
    assert changed != text
    (overlay / "kustomization.yaml").write_text(changed, encoding="utf-8")
    engine = of_kind(build(overlay), "StatefulSet")["engine"]
    assert engine["spec"]["replicas"] == 7
    assert option(engine["spec"]["template"]["spec"], "--workers") == "7"


def test_a_pod_is_the_worker_of_its_ordinal(objects: list[Object]) -> None:
    pod = pods(objects)["engine"]
    assert option(pod, "--worker-index") == "$(WORKER_INDEX)"
    (index,) = (each for each in container(pod)["env"] if each["name"] == "WORKER_INDEX")
    assert index["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"


def test_the_engine_has_no_autoscaler(objects: list[Object]) -> None:
    scaled = [each["spec"]["scaleTargetRef"] for each in of_kind(objects, "HorizontalPodAutoscaler").values()]
    assert all((each["kind"], each["name"]) == ("Deployment", "api") for each in scaled)


def test_the_recovery_state_is_kept_in_a_volume_of_the_pods_own(objects: list[Object]) -> None:
    engine = of_kind(objects, "StatefulSet")["engine"]["spec"]
    pod = engine["template"]["spec"]
    (claim,) = engine["volumeClaimTemplates"]
    mounts = {each["name"]: each["mountPath"] for each in container(pod)["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == option(pod, "--recovery-directory")
    assert engine["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Retain"}
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


# --- health, and how it ends ------------------------------------------------------------------------------------------


def ports(pod: Object) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container(pod).get("ports", ())}


def probes(pod: Object) -> dict[str, Way]:
    """What each probe asks for, and at which port."""
    asked = {}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container(pod)[kind]
        if "httpGet" in probe:
            asked[kind] = (probe["httpGet"]["path"], ports(pod)[probe["httpGet"]["port"]])
        else:
            url = re.search("http://127.0.0.1[^']*", " ".join(probe["exec"]["command"]))
            assert url is not None
            asked[kind] = (urlsplit(url[0]).path, urlsplit(url[0]).port or 80)
    return asked


def test_probes_ask_where_the_programs_answer(objects: list[Object]) -> None:
    engine, api = pods(objects)["engine"], pods(objects)["api"]
    for pod, name, port in ((engine, "health", option(engine, "--health-port")), (api, "http", option(api, "--port"))):
        assert ports(pod) == {name: int(port)}
        assert probes(pod) == {
            "startupProbe": ("/live", int(port)),
            "livenessProbe": ("/live", int(port)),
            "readinessProbe": ("/ready", int(port)),
        }
    assert {"/live", "/ready"} <= OPEN_PATHS, "kubelet signs in nowhere"


def test_whom_kubelet_cannot_reach_is_asked_from_inside(objects: list[Object]) -> None:
    pod = pods(objects)["api"]
    outside = {"httpGet" in container(pod)[kind] for kind in probes(pod)}
    assert outside == {option(pod, "--host") == "0.0.0.0"}


@pytest.mark.parametrize("path", ["/live", "/ready", "/metrics"])
def test_the_engine_serves_what_it_is_asked_for(path: str) -> None:
    assert answer(path, Vitals("0/2"), ready_lag=1, now=datetime.now(UTC))[0] != 404


def test_whoever_is_told_to_stop_has_the_time_to(objects: list[Object]) -> None:
    engine, api = pods(objects)["engine"], pods(objects)["api"]
    assert engine["terminationGracePeriodSeconds"] > DRAIN_SECONDS_HARD
    program, pause = container(api)["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert api["terminationGracePeriodSeconds"] > int(pause) + FINISH_SECONDS


def test_a_budget_a_service_and_an_autoscaler_mean_pods_that_there_are(objects: list[Object]) -> None:
    labels = {
        each["spec"]["template"]["metadata"]["labels"][NAME]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet")
    }
    for each in of_kind(objects, "Service").values():
        assert each["spec"]["selector"][NAME] in labels
        pod = pods(objects)[each["spec"]["selector"][NAME]]
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports(pod).keys()
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        for each in of_kind(objects, kind).values():
            assert each["spec"]["selector"]["matchLabels"][NAME] in labels
    assert of_kind(objects, "StatefulSet")["engine"]["spec"]["serviceName"] in of_kind(objects, "Service")


# --- settings and secrets ---------------------------------------------------------------------------------------------


def environment(objects: list[Object], pod: Object) -> dict[str, str]:
    """What a container of ours is told, without what Kubernetes finds out when it starts it."""
    maps = of_kind(objects, "ConfigMap")
    told: dict[str, str] = {}
    for source in container(pod).get("envFrom", ()):
        told |= maps[source["configMapRef"]["name"]]["data"]
    return told | {each["name"]: each["value"] for each in container(pod).get("env", ()) if "value" in each}


def with_files(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The same with files of ours in place of what a pod would find below /etc/plimsoll."""
    secrets = {
        "redis-url": "rediss://engine:word@redis.example.com:6380/0",
        "kafka-password": "word",
        "api-keys": "",
    }
    changed = dict(environ)
    for key, value in environ.items():
        path = Path(value)
        if path.parent == Path("/etc/plimsoll/credentials"):
            changed[key] = str(directory / path.name)
            (directory / path.name).write_text(secrets[path.name], encoding="utf-8")
        elif path.parent == Path("/etc/plimsoll/authorities"):
            changed[key] = certifi.where()
    return changed


def test_what_a_container_is_told_is_a_setting_and_can_be_used(objects: list[Object], tmp_path: Path) -> None:
    for name, pod in of_us(objects).items():
        told = environment(objects, pod)
        assert told.keys() <= {each.key for each in documented()} | secret_files().keys(), name
        settings = load(with_files(told, tmp_path))
        assert settings.kafka_brokers == told["KAFKA_BROKERS"]


def test_nothing_that_kubernetes_adds_to_the_environment_is_taken_for_a_setting(objects: list[Object]) -> None:
    assert all(pod["enableServiceLinks"] is False for pod in pods(objects).values())


def test_the_api_may_be_served_where_its_container_listens(objects: list[Object], tmp_path: Path) -> None:
    pod = pods(objects)["api"]
    settings = load(with_files(environment(objects, pod), tmp_path))
    assert _danger(settings, option(pod, "--host")) is None
    assert (option(pod, "--host") == "127.0.0.1") == (settings.auth == "off")


def test_every_file_that_a_setting_names_is_mounted(objects: list[Object]) -> None:
    for pod in of_us(objects).values():
        mounted = [each["mountPath"] for each in container(pod)["volumeMounts"]]
        named = [value for value in environment(objects, pod).values() if value.startswith("/etc/")]
        assert all(str(Path(value).parent) in mounted for value in named)
        volumes = {each["name"] for each in pod["volumes"]}
        claims = {"recovery", "data"}
        assert {each["name"] for each in container(pod)["volumeMounts"]} <= volumes | claims


def test_a_changed_setting_starts_the_pods_anew(objects: list[Object]) -> None:
    (settings,) = (name for name in of_kind(objects, "ConfigMap") if name.startswith("settings"))
    assert re.fullmatch(r"settings-[a-z0-9]{10}", settings)


def test_no_build_holds_a_secret(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")


def test_the_example_shows_every_secret_that_is_asked_for_and_holds_none(built: dict[str, list[Object]]) -> None:
    text = (MANIFESTS / "overlays" / "production" / "secrets.example.yaml").read_text(encoding="utf-8")
    examples = list(yaml.safe_load_all(text))
    shown = {each["metadata"]["name"]: set(each.get("stringData", each.get("data"))) for each in examples}
    for values in (each.get("stringData", each.get("data")) for each in examples):
        assert all("<" in value and ">" in value for value in values.values())
    asked: dict[str, set[str]] = {}
    for pod in of_us(built["production"]).values():
        names = {
            f"/etc/plimsoll/{each['name']}": each.get("secret", {}).get(
                "secretName", each.get("configMap", {}).get("name")
            )
            for each in pod["volumes"]
        }
        for value in environment(built["production"], pod).values():
            if (folder := str(Path(value).parent)) in names:
                asked.setdefault(names[folder], set()).add(Path(value).name)
    for ingress in of_kind(built["production"], "Ingress").values():
        asked |= {each["secretName"]: {"tls.crt", "tls.key"} for each in ingress["spec"]["tls"]}
    for monitor in of_kind(built["production"], "PodMonitor").values():
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if "authorization" in endpoint:
                credentials = endpoint["authorization"]["credentials"]
                asked[credentials["name"]] = {credentials["key"]}
    assert asked == shown


def test_what_the_guide_applies_is_there() -> None:
    text = (ROOT / "docs" / "KUBERNETES.md").read_text(encoding="utf-8")
    named = re.findall(r"apply -k (deploy/\S+)", text)
    assert named
    assert all((ROOT / each / "kustomization.yaml").is_file() for each in named)


# --- rights -----------------------------------------------------------------------------------------------------------


def test_nobody_is_root_or_may_become_it(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container(pod)["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container(pod)["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
    (namespace,) = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_container_of_ours_is_the_images_user_and_writes_nowhere_but_to_its_volumes(objects: list[Object]) -> None:
    user = re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    for pod in of_us(objects).values():
        assert pod["securityContext"]["runAsUser"] == int(user[1])
        assert container(pod)["securityContext"]["readOnlyRootFilesystem"] is True
        assert "/tmp" in [each["mountPath"] for each in container(pod)["volumeMounts"]]


def test_every_container_says_what_it_needs_and_what_is_too_much(objects: list[Object]) -> None:
    for pod in pods(objects).values():
        resources = container(pod)["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}


# --- what Prometheus is told ------------------------------------------------------------------------------------------


def test_the_operator_has_the_rules_that_prometheus_has(built: dict[str, list[Object]]) -> None:
    (rule,) = of_kind(built["production"], "PrometheusRule").values()
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    assert groups
    assert rule["spec"]["groups"] == groups, "`make rules` writes them anew"


def test_what_is_scraped_is_a_port_that_there_is(built: dict[str, list[Object]]) -> None:
    objects = built["production"]
    for name, monitor in of_kind(objects, "PodMonitor").items():
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports(pods(objects)[name])
        assert endpoint["path"] == "/metrics"


def test_the_jobs_have_the_names_that_the_rules_know(built: dict[str, list[Object]]) -> None:
    (rule,) = of_kind(built["production"], "PrometheusRule").values()
    known = set(re.findall(r'job="([^"]+)"', json.dumps(rule["spec"]).replace('\\"', '"')))
    jobs = {
        relabeling["replacement"]
        for monitor in of_kind(built["production"], "PodMonitor").values()
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for relabeling in endpoint["relabelings"]
        if relabeling["targetLabel"] == "job"
    }
    assert known
    assert known <= jobs


# --- who may talk to whom ---------------------------------------------------------------------------------------------


def _named(selector: Object) -> set[str]:
    """The names of what a selector of pods means."""
    labels = selector.get("matchLabels", {})
    chosen = {labels[key] for key in (NAME, "k8s-app") if key in labels}
    for each in selector.get("matchExpressions", ()):
        assert (each["key"], each["operator"]) == (NAME, "In")
        chosen |= set(each["values"])
    return chosen


def ways(objects: list[Object], name: str, direction: str) -> set[Way]:
    """Where a pod may go to, or be reached from: `direction` is Egress or Ingress."""
    found: set[Way] = set()
    for policy in of_kind(objects, "NetworkPolicy").values():
        spec = policy["spec"]
        if direction not in spec["policyTypes"] or (spec["podSelector"] and name not in _named(spec["podSelector"])):
            continue
        for rule in spec.get(direction.lower(), ()):
            for peer in rule["to" if direction == "Egress" else "from"]:
                whom = {peer["ipBlock"]["cidr"]} if "ipBlock" in peer else _named(peer["podSelector"])
                found |= {(one, port["port"]) for one in whom for port in rule["ports"]}
    return found


DNS: Way = ("kube-dns", 53)


def test_nobody_talks_to_anybody_unless_it_is_said(objects: list[Object]) -> None:
    closed = of_kind(objects, "NetworkPolicy")["default-deny"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_everybody_reaches_what_they_need_and_nothing_else_on_one_node(built: dict[str, list[Object]]) -> None:
    objects = built["development"]
    told = environment(objects, pods(objects)["engine"])
    broker, _, broker_port = told["KAFKA_BROKERS"].partition(":")
    kafka, redis = (broker, int(broker_port)), (urlsplit(told["REDIS_URL"]).hostname, urlsplit(told["REDIS_URL"]).port)
    assert ports(pods(objects)["kafka"])["kafka"] == kafka[1]
    assert ports(pods(objects)["redis"])["redis"] == redis[1]
    out = {name: ways(objects, name, "Egress") - {DNS} for name in pods(objects)}
    assert out == {
        "engine": {kafka, redis},
        "api": {kafka, redis},
        "topics": {kafka},
        "producer": {kafka},
        "kafka": set(),
        "redis": set(),
    }
    for name, whom in (("kafka", kafka), ("redis", redis)):
        callers = {source for source, goals in out.items() if whom in goals}
        assert ways(objects, name, "Ingress") == {(source, whom[1]) for source in callers}


def test_everybody_reaches_what_they_need_and_nothing_else_in_production(built: dict[str, list[Object]]) -> None:
    objects = built["production"]
    told = environment(objects, pods(objects)["api"])
    broker_ports = {int(each.rpartition(":")[2]) for each in told["KAFKA_BROKERS"].split(",")}
    example = (MANIFESTS / "overlays" / "production" / "secrets.example.yaml").read_text(encoding="utf-8")
    redis_ports = {int(port) for port in re.findall(r"rediss://.*:(\d+)/", example)}
    assert urlsplit(told["PLIMSOLL_JWKS"]).scheme == "https"

    def out(name: str) -> set[int]:
        return {port for _, port in ways(objects, name, "Egress") - {DNS}}

    assert out("engine") == broker_ports | redis_ports
    assert out("api") == broker_ports | redis_ports | {443}
    assert out("topics") == broker_ports


def test_prometheus_and_the_ingress_alone_come_in(built: dict[str, list[Object]]) -> None:
    for overlay, others in (("development", set()), ("production", {"ingress-nginx"})):
        engine, api = (pods(built[overlay])[name] for name in ("engine", "api"))
        assert ways(built[overlay], "engine", "Ingress") == {("prometheus", ports(engine)["health"])}
        assert ways(built[overlay], "api", "Ingress") == {
            (caller, ports(api)["http"]) for caller in {"prometheus"} | others
        }


# --- the engine's command, outside of Kubernetes ----------------------------------------------------------------------


def test_worker_0_of_2_becomes_ready_by_the_command_of_its_pod(
    built: dict[str, list[Object]], processes: Processes, broker_address: str, redis_url: str, tmp_path: Path
) -> None:
    """Only what the pod's own network and volume force is rewritten: addresses, the port, and where the volume is."""
    objects = built["development"]
    pod = pods(objects)["engine"]
    port = free_port()
    instead = {
        "$(WORKER_INDEX)": "0",
        option(pod, "--recovery-directory"): str(tmp_path / "recovery"),
        option(pod, "--health-port"): str(port),
    }
    program, *arguments = (instead.get(word, word) for word in container(pod)["command"])
    told = environment(objects, pod) | {
        "KAFKA_BROKERS": broker_address,
        "REDIS_URL": redis_url,
        "PLIMSOLL_HEALTH_HOST": "127.0.0.1",
    }
    worker = processes.python(Path(sys.executable).parent / program, *arguments, environ=told)
    asked = probes(pod)

    def says(probe: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{asked[probe][0]}", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    processes.wait_for(lambda: says("livenessProbe"), "worker that is alive", seconds=60)
    processes.wait_for(lambda: says("readinessProbe"), "worker that is ready", seconds=60)
    assert "worker 0/2" in worker.tail()
    assert (tmp_path / "recovery" / "worker-0-of-2" / "manifest.json").is_file()
    os.kill(worker.pid, signal.SIGTERM)
    processes.wait_for(lambda: worker.exit_code() == 0, "end", seconds=pod["terminationGracePeriodSeconds"])
