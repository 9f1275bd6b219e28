"""The command line's promises: plain errors, exit codes, settings."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

import ridgeline
from ridgeline import cli
from ridgeline.events import Action, Advice, Confidence, DeviceEvent, Estimate
from ridgeline.local.broker import free_port
from ridgeline.local.follow import money, render
from ridgeline.settings import SETTINGS


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `ridgeline ARGUMENTS`."""
    monkeypatch.setattr("sys.argv", ["ridgeline", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the package's."""
    assert run(monkeypatch, "version") == 0
    assert capsys.readouterr().out.strip() == ridgeline.__version__


def test_settings_lists_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every setting of every service is listed."""
    assert run(monkeypatch, "settings") == 0
    text = capsys.readouterr().out
    for cls in SETTINGS:
        for name in cls.model_fields:
            assert f"{cls.model_config.get('env_prefix', '')}{name.upper()}=" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tail", "nonsense"), "no topic 'nonsense'"),
        (("up", "--kafka", "rabbit"), "RIDGELINE_LOCAL_KAFKA: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    """What a person must change is named in one line, without a traceback."""
    monkeypatch.setenv("RIDGELINE_LOCAL_KAFKA", "embedded")
    assert run(monkeypatch, *arguments) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.count("\n") == 1


def test_migrate_and_doctor(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    store_url: str,
    kafka_servers: str,
) -> None:
    """Doctor tells what is there from what is not, and fails while something is down."""
    down = str(free_port())
    monkeypatch.setenv("RIDGELINE_STORE_URL", store_url)
    monkeypatch.setenv("RIDGELINE_STORE_DATABASE", "doctor")
    monkeypatch.setenv("RIDGELINE_KAFKA_SERVERS", kafka_servers)
    monkeypatch.setenv("RIDGELINE_ADVISOR_PORT", down)
    assert run(monkeypatch, "store", "migrate") == 0
    assert run(monkeypatch, "doctor") == 1
    text = capsys.readouterr().out

    assert f"ok    store: {store_url} answers" in text
    assert "ok    gpu_windows: empty" in text
    assert f"{urlsplit(store_url).port}" in text
    assert f"DOWN  console: http://127.0.0.1:{down}/: nothing listens there" in text
    assert "DOWN  lag: no stream worker has reported in the last minute" in text


def test_advice_reads_as_a_sentence() -> None:
    """Advice shows its gain as an interval and how sure it is; unknown is said, not 0."""
    gain = Estimate(
        low=12000, mid=15000, high=18000, unit="usd/month", confidence="modelled", source="x"
    )
    advice = Advice(
        id="a",
        rule="r",
        action="rebalance_pools",
        state="open",
        scope_kind="pool",
        scope="decode",
        title="Split the pools",
        reason="because",
        gain=gain,
        confidence=Confidence.MODELLED,
        verify="look",
        model_version="1",
        created_ms=0,
        updated_ms=0,
    )
    line = render(advice) or ""

    assert line.endswith("advice    decode: Split the pools (12,000 to 18,000 USD/month, modelled)")
    assert money(None) == "gain unknown"
    keep = advice.model_copy(update={"action": Action.KEEP, "title": "decode: stays as it is"})
    assert (render(keep) or "").endswith("advice    decode: stays as it is (modelled)")


def test_a_device_event_reads_as_a_sentence() -> None:
    """What happened once is said in the collector's words."""
    event = DeviceEvent(
        device=1, node=2, kind="xid", code=94, message="XID 94 on node13 gpu3", ts=0
    )

    assert (render(event) or "").endswith("event     XID 94 on node13 gpu3")
