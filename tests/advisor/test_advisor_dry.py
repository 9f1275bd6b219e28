"""The advisor advises: nothing in its package could act on a cluster."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import advisor

ROOT = Path(advisor.__file__).parent
ALLOWED = {
    "aiokafka": {"service.py"},  # publishes the advice itself
    "apprise": {"notify/chat.py"},  # tells people
    "grafana_client": {"notify/grafana.py"},  # annotates dashboards
    "clickhouse_connect": set(),
}
"""Clients that write somewhere outside the process, and the only modules that may hold one."""
FORBIDDEN = {
    *("subprocess", "pty", "paramiko", "asyncssh", "fabric", "ansible", "docker", "kubernetes"),
    *("kubernetes_asyncio", "pynvml", "boto3", "botocore", "libcloud", "openstack", "sky"),
    *("httpx", "requests", "niquests", "urllib3", "aiohttp", "socket", "ctypes", "redfish"),
    *("pyghmi", "pysnmp", "netmiko", "ncclient", "telnetlib", "smtplib", "ftplib", "xmlrpc"),
}
CALLS = {"system", "popen", "execv", "execve", "fork", "kill", "killpg", "posix_spawn", "spawnv"}
STATEMENTS = ("ALTER ", "DROP ", "TRUNCATE ", "SYSTEM ", "KILL ", "DELETE ", "INSERT ")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package, by path."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of what a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def test_no_module_can_reach_a_machine() -> None:
    """No remote shell, orchestrator, cloud, driver or raw HTTP client is imported anywhere."""
    assert set() == {
        (path, name) for path, tree in modules() for name in imported(tree) & FORBIDDEN
    }


def test_what_leaves_the_process_leaves_by_the_known_doors() -> None:
    """Kafka, chat and Grafana each have one module; the store is reached through the contract."""
    for name, allowed in ALLOWED.items():
        assert allowed == {path for path, tree in modules() if name in imported(tree)}


def test_no_process_is_started_or_killed() -> None:
    """No call of the operating system's that starts or ends a process."""
    found = {
        (path, node.func.attr)
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "os"
        and node.func.attr in CALLS
    }

    assert set() == found


def test_the_store_is_only_read_but_for_the_advice_itself() -> None:
    """No SQL of the advisor writes; events go in through the engine's one insert."""
    writing = {
        (path, node.value.strip()[:40])
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.lstrip().startswith(STATEMENTS)
    }
    inserting = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("insert_")
    }

    assert set() == writing
    assert {"engine.py"} == inserting
