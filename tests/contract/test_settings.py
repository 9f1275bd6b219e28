"""Settings: from the environment, with errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from ridgeline.errors import Misconfigured
from ridgeline.settings import SETTINGS, AdvisorSettings, CollectSettings, StoreSettings


def test_defaults_load_without_any_variable() -> None:
    """Every service starts with nothing set."""
    assert len(SETTINGS) == len([cls.load() for cls in SETTINGS])


def test_every_setting_is_described() -> None:
    """`ridgeline settings` can print a meaning for each."""
    bare = [
        f"{cls.__name__}.{name}"
        for cls in SETTINGS
        for name, field in cls.model_fields.items()
        if not field.description
    ]

    assert [] == bare


def test_a_list_is_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks around commas and empty parts do not matter."""
    monkeypatch.setenv("RIDGELINE_COLLECT_COLLECTORS", "nvml, netdev,")

    assert CollectSettings.load().collectors == ("nvml", "netdev")


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator reads which variable, what was found and what is allowed."""
    monkeypatch.setenv("RIDGELINE_ADVISOR_PORT", "70000")

    with pytest.raises(Misconfigured, match=r"RIDGELINE_ADVISOR_PORT.*65535.*70000"):
        AdvisorSettings.load()


def test_a_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file's text, less the newline at its end, is the password."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n", encoding="utf-8")
    monkeypatch.setenv("RIDGELINE_STORE_PASSWORD_FILE", str(secret))
    monkeypatch.delenv("RIDGELINE_STORE_PASSWORD", raising=False)

    assert StoreSettings.load().password.get_secret_value() == "s3cret"


def test_a_secret_file_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo in the path stops the start with the variable's name."""
    monkeypatch.setenv("RIDGELINE_STORE_PASSWORD_FILE", "/nonexistent/password")

    with pytest.raises(Misconfigured, match="RIDGELINE_STORE_PASSWORD_FILE"):
        StoreSettings.load()
