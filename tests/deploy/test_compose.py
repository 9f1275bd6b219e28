"""The deployment cannot be started here; everything about it that can be checked is checked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from ridgeline.cli import app
from ridgeline.settings import SETTINGS
from tests.deploy.compose_model import Compose, Override, Service

ROOT = Path(__file__).parents[2]
OWN = ("init", "collect", "streams", "advise")
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)")
OURS_OF_COMPOSE = {"RIDGELINE_PUBLIC_KAFKA"}
OURS_OF_GRAFANA = {"RIDGELINE_STORE_HOST", "RIDGELINE_STORE_PORT"}


def compose() -> Compose:
    """The file, held against the model."""
    return Compose.model_validate(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def services() -> dict[str, Service]:
    """Its services."""
    return compose().services


def known_variables() -> set[str]:
    """Every variable the settings read, secrets also by file."""
    names: set[str] = set()
    for cls in SETTINGS:
        prefix = cls.model_config.get("env_prefix", "")
        for field, info in cls.model_fields.items():
            names.add(f"{prefix}{field.upper()}")
            if info.annotation is SecretStr:
                names.add(f"{prefix}{field.upper()}_FILE")
    return names


def test_file_is_valid() -> None:
    """Only keys of the specification, with values of their types; extras are x- keys."""
    extra = compose().model_extra or {}

    assert [] == [key for key in extra if not key.startswith("x-")]
    assert {"kafka", "clickhouse", "grafana", *OWN} == set(services())


def test_override_for_gpus_is_valid_and_changes_existing_services() -> None:
    """The GPU file adds to the agent and to nothing else."""
    found = yaml.safe_load((ROOT / "deploy" / "compose.gpu.yml").read_text())

    assert ["services"] == list(found)
    assert {"collect"} == set(found["services"])
    assert Override.model_validate(found["services"]["collect"]).deploy is not None


def test_every_image_is_pinned() -> None:
    """A full version each, of the image and of every stage of ours."""
    for name, service in services().items():
        assert re.search(r":\d+\.\d+\.\d+(\.\d+)?$", service.image), (name, service.image)
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=python:3\.\d+\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert ["${PYTHON}", "${PYTHON}"] == stages
    plugins = services()["grafana"].environment["GF_PLUGINS_PREINSTALL_SYNC"]
    assert re.fullmatch(r"grafana-clickhouse-datasource@\d+\.\d+\.\d+", plugins)


def test_own_image_carries_the_package_version() -> None:
    """The tag is the version, so an upgrade is visible."""
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "ridgeline/__init__.py").read_text())

    assert version is not None
    assert {f"ridgeline:{version[1]}"} == {services()[name].image for name in OWN}


def test_every_own_variable_is_a_setting() -> None:
    """A variable nobody reads is a typo."""
    known = known_variables()
    for name, service in services().items():
        ours = {v for v in service.environment if v.startswith("RIDGELINE_")}
        assert ours <= known | (OURS_OF_GRAFANA if name == "grafana" else set()), name


def test_every_substituted_variable_is_known() -> None:
    """What is read from the shell or .env has a default and a meaning."""
    text = (ROOT / "docker-compose.yml").read_text()
    found = set(VARIABLE.findall(text))

    assert found <= known_variables() | OURS_OF_COMPOSE
    assert len(VARIABLE.findall(text)) == text.count(":-")


@pytest.mark.parametrize("name", OWN)
def test_every_command_exists(name: str) -> None:
    """The words of `command` lead to a command of the CLI."""
    result = CliRunner().invoke(app, [*services()[name].command, "--help"])

    assert 0 == result.exit_code, result.output
    assert "COMMAND" not in result.output.splitlines()[1]


def test_services_are_least_privileged() -> None:
    """No root, no capabilities, no new privileges; a read-only root but for Kafka's."""
    for name, service in services().items():
        assert not service.user.startswith("0:"), name
        assert ["ALL"] == service.cap_drop, name
        assert ["no-new-privileges:true"] == service.security_opt, name
        assert service.read_only is (name != "kafka"), name
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()


def test_ports_are_on_loopback() -> None:
    """Nothing is published to the network by default."""
    published = [port for service in services().values() for port in service.ports]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_everything_long_running_has_a_health_check() -> None:
    """And what others wait for healthy has one."""
    for name, service in services().items():
        assert (service.healthcheck is None) is (name == "init"), name
        for other, dependency in service.depends_on.items():
            needed = services()[other]
            if dependency.condition == "service_healthy":
                assert needed.healthcheck is not None, (name, other)
            if dependency.condition == "service_completed_successfully":
                assert needed.restart == "on-failure", (name, other)


def test_health_checks_ask_the_port_the_service_listens_on() -> None:
    """The metrics ports are the settings' defaults."""
    defaults = {
        f"{cls.model_config.get('env_prefix', '')}{name.upper()}": field.default
        for cls in SETTINGS
        for name, field in cls.model_fields.items()
    }
    for name, variable in (
        ("collect", "RIDGELINE_COLLECT_METRICS_PORT"),
        ("streams", "RIDGELINE_STREAMS_METRICS_PORT"),
        ("advise", "RIDGELINE_ADVISOR_PORT"),
    ):
        service = services()[name]
        assert service.healthcheck is not None
        port = service.environment.get(variable, defaults[variable])
        assert f"127.0.0.1:{port}/" in service.healthcheck.test[-1], name


def test_volumes_are_named_and_used() -> None:
    """Data is in named volumes; folders of the machine are read-only and exist."""
    named = set(compose().volumes)
    used: set[str] = set()
    for name, service in services().items():
        for volume in service.volumes:
            source, _, rest = volume.partition(":")
            if source.startswith(("/", ".")):
                assert rest.endswith(":ro"), (name, volume)
                assert source == "/sys" or (ROOT / source).is_dir(), volume
            else:
                used.add(source)
    assert named == used


def test_secrets_are_files_with_an_example_and_out_of_git() -> None:
    """Each secret a service names is declared, has an example, and is not committed."""
    declared = compose().secrets
    used = {secret for service in services().values() for secret in service.secrets}
    assert used == set(declared)
    for name, secret in declared.items():
        assert secret.file == f"deploy/secrets/{name}"
        assert (ROOT / f"{secret.file}.example").is_file()
    for service in services().values():
        for variable, value in service.environment.items():
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service.secrets, variable
            assert not re.search(r"(PASSWORD|TOKEN)$", variable), variable
    ignored = (ROOT / "deploy/secrets/.gitignore").read_text().split()
    assert ["*", "!.gitignore", "!*.example"] == ignored


def test_make_secrets_makes_each_once(tmp_path: Path) -> None:
    """Real run: random, readable by the containers, kept on a second run."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    names = list(compose().secrets)
    for name in names:
        (tmp_path / "deploy/secrets" / name).unlink(missing_ok=True)

    def run() -> list[str]:
        shell = shutil.which("sh")
        assert shell is not None
        subprocess.run([shell, tmp_path / "deploy/make-secrets"], check=True, timeout=30)
        return [(tmp_path / "deploy/secrets" / name).read_text() for name in names]

    first = run()
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in first)
    assert len(names) == len(set(first))
    assert first == run()


def test_grafana_gives_the_data_source_what_it_asks_for() -> None:
    """Every variable of the provisioned files is in Grafana's environment or its entry point."""
    grafana = services()["grafana"]
    asked: set[str] = set()
    for path in (ROOT / "dashboards/provisioning").rglob("*.y*ml"):
        asked |= set(VARIABLE.findall(path.read_text()))
    given = set(grafana.environment) | set(re.findall(r"export (\w+)=", grafana.entrypoint[-1]))

    assert asked
    assert asked <= given
    mounts = [volume.split(":")[1] for volume in grafana.volumes]
    providers = (ROOT / "dashboards/provisioning/dashboards").glob("*.y*ml")
    folders = [
        provider["options"]["path"]
        for path in providers
        for provider in yaml.safe_load(path.read_text())["providers"]
    ]
    assert folders
    assert set(folders) <= set(mounts)


def test_dockerfile_copies_what_exists_and_nothing_is_ignored_away() -> None:
    """Each source of a COPY is there and let through by .dockerignore."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    sources = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }

    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)
