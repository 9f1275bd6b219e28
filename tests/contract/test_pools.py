"""Names of pools: a role, or a service and a role."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ridgeline.errors import Misconfigured
from ridgeline.events import DeviceKind, InventoryItem
from ridgeline.pools import PoolName, Role, pool_of, role_of, service_of
from ridgeline.settings import AdvisorSettings, CollectSettings

NAME: TypeAdapter[str] = TypeAdapter(PoolName)
services = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True) | st.just("")


@given(services, st.sampled_from(list(Role)))
def test_a_name_is_its_service_and_its_role(service: str, role: Role) -> None:
    """What is put together comes apart again, and is a name."""
    name = pool_of(service, role)

    assert (service, role) == (service_of(name), role_of(name))
    assert name == NAME.validate_python(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chat", "role 'chat' is not one of prefill, decode, mixed, training, unknown"),
        ("chat/fast", "role 'fast'"),
        ("/decode", "service ''"),
        ("Chat/decode", "small letters"),
        ("a/b/decode", "service 'a/b'"),
        ("a+b/decode", "service 'a+b'"),
        ("", "role ''"),
    ],
)
def test_what_is_no_name(name: str, said: str) -> None:
    """The message names the part and what is allowed."""
    with pytest.raises(ValidationError) as error:
        NAME.validate_python(name)
    assert said in error.value.errors()[0]["msg"]


def test_pools_on_the_wire() -> None:
    """A role as before, or with a service; what an older agent wrote is read."""
    item = InventoryItem(
        device=1, node=2, kind=DeviceKind.GPU, host="h", name="n", pool="chat/decode", seen_ms=3
    )

    assert "chat/decode" == InventoryItem.model_validate_json(item.to_bytes()).pool
    old = item.to_bytes().replace(b"chat/decode", b"decode")
    assert Role.DECODE == InventoryItem.model_validate_json(old).pool
    assert Role.UNKNOWN == item.model_validate(item.model_dump(exclude={"pool"})).pool


def test_settings_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for one service stands for it alone; the rest is everybody's."""
    monkeypatch.setenv("RIDGELINE_ADVISOR_MODEL", "llama3-70b")
    monkeypatch.setenv(
        "RIDGELINE_ADVISOR_SERVICES", '{"chat": {"model": "llama3-8b", "slo_tpot_seconds": 0.02}}'
    )
    settings = AdvisorSettings.load()
    chat, code = settings.of_service("chat"), settings.of_service("code")

    assert ("llama3-8b", 0.02) == (chat.model, chat.slo_tpot_seconds)
    assert settings.slo_ttft_seconds == chat.slo_ttft_seconds
    assert code == settings


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("chat=llama3-8b", "no JSON"),
        ('{"chat": {"modell": "x"}}', "RIDGELINE_ADVISOR_SERVICES_CHAT_MODELL"),
        ('{"chat": {"slo_tpot_seconds": -1}}', "greater than 0"),
        ("[]", "RIDGELINE_ADVISOR_SERVICES"),
    ],
)
def test_wrong_settings_of_services(value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and what is wrong are named."""
    monkeypatch.setenv("RIDGELINE_ADVISOR_SERVICES", value)
    with pytest.raises(Misconfigured, match=said):
        AdvisorSettings.load()


def test_the_pool_of_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the collectors are told."""
    monkeypatch.setenv("RIDGELINE_COLLECT_SERVING_POOL", "chat/prefill")
    assert "chat/prefill" == CollectSettings.load().serving_pool
    monkeypatch.setenv("RIDGELINE_COLLECT_SERVING_POOL", "chat")
    with pytest.raises(Misconfigured, match="RIDGELINE_COLLECT_SERVING_POOL"):
        CollectSettings.load()
