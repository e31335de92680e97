"""What is under deploy/, the Dockerfile and the compose file ask for options, files and ports that there are."""

import base64
import json
import re
from pathlib import Path

import pytest
import typer
import yaml
from google.rpc import error_details_pb2, status_pb2
from typer.main import get_command

from serving.command import serve
from serving.health_check import is_serving

ROOT = Path(__file__).parents[2]
KUBERNETES = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))


def options_of_serve() -> dict[str, bool]:
    """Every option of `beamstep serve`, and whether it takes a value."""
    found = {}
    for parameter in get_command(_app()).params:
        for name in (*parameter.opts, *parameter.secondary_opts):
            found[name] = not getattr(parameter, "is_flag", False)
    return found


def check_command(arguments: list[str]) -> None:
    assert arguments[0] == "serve"
    known = options_of_serve()
    rest = iter(arguments[1:])
    for argument in rest:
        assert argument in known, argument
        if known[argument]:
            value = next(rest)
            assert not value.startswith("--"), (argument, value)


def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def resources() -> list[dict]:
    return [found for file in KUBERNETES for found in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> dict:
    (found,) = [resource for resource in resources() if resource.get("kind") == kind]
    return found


def test_the_image_s_own_command():
    commands = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    served = [json.loads(command) for command in commands if "serve" in command]
    assert len(served) == 1
    check_command(served[0])


def test_who_is_refused_by_the_guard_is_told_as_by_the_server():
    text = (ROOT / "deploy/guard.conf").read_text(encoding="utf-8")
    refused = text.partition("location @refused")[2].partition("}")[0]
    (said,) = re.findall(r'grpc-message "(.*)" always', refused)
    (details,) = re.findall(r'grpc-status-details-bin "(.*)" always', refused)
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    assert (status.code, status.message) == (8, said)
    assert "add_header grpc-status 8 always;" in refused
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1000


@pytest.mark.parametrize("name", ["translation", "captioning", "pointing", "gpu"])
def test_the_commands_of_the_compose_file(name):
    service = compose()["services"][name]
    check_command(service["command"])
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_files_that_compose_mounts_are_there():
    mounted = [
        volume.split(":")[0] for service in compose()["services"].values() for volume in service.get("volumes", ())
    ]
    assert mounted
    for path in mounted:
        assert (ROOT / path).exists(), path


def test_files_that_the_image_takes_are_let_through():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert taken
    for path in taken:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in ignored, path


def test_the_kubernetes_deployment():
    deployment = of_kind("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    check_command(container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["grpc"]) == container["args"][container["args"].index("--port") + 1]
    assert str(ports["http"]) == container["args"][container["args"].index("--http-port") + 1]
    assert container["readinessProbe"]["grpc"]["port"] == ports["grpc"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        selector = of_kind(kind)["spec"]["selector"]
        assert selector.get("matchLabels", selector) == labels
    scaled = of_kind("HorizontalPodAutoscaler")["spec"]
    assert scaled["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (rules,) = [resource["rules"] for resource in resources() if "rules" in resource]
    assert scaled["metrics"][0]["pods"]["metric"]["name"] == rules["custom"][0]["name"]["as"]


def test_the_drain_fits_into_what_every_orchestrator_leaves():
    grace = next(parameter for parameter in get_command(_app()).params if "--grace" in parameter.opts).default
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    sleep = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert sleep + grace < pod["terminationGracePeriodSeconds"]
    assert grace < int(compose()["services"]["translation"]["stop_grace_period"].removesuffix("s"))


def test_the_health_check_of_the_image_says_no_where_nobody_listens():
    assert not is_serving("localhost:1", timeout_s=0.5)


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(serve)
    return app
