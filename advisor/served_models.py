"""What the operator says of served models and services, beside what is known and what is there."""

from __future__ import annotations

import structlog
from pydantic import TypeAdapter, ValidationError

from advisor.catalog.models import by_name
from advisor.facts import Facts
from advisor.plan.options import ModelName
from ridgeline.errors import Misconfigured
from ridgeline.pools import service_of
from ridgeline.settings import AdvisorSettings

log = structlog.get_logger()
_NAME = TypeAdapter(ModelName)


def check(settings: AdvisorSettings) -> None:
    """Raise Misconfigured where a model is set that the catalogue does not know."""
    named = {"RIDGELINE_ADVISOR_MODEL": settings.model} | {
        f"RIDGELINE_ADVISOR_SERVICES: {service}: model": own.model or ""
        for service, own in settings.services.items()
    }
    for setting, name in named.items():
        if not name:
            continue
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise Misconfigured(setting, f"{problem} (found {name!r})") from None


class Unmatched:
    """Tells once of each name that nothing is known of: rules say nothing of its pools."""

    def __init__(self, settings: AdvisorSettings) -> None:
        self._settings = settings
        self._told: set[str] = set()

    def tell(self, seen: Facts) -> None:
        """Of models that servers name and services that are set, those that do not match."""
        for pool, those in sorted(seen.software.items()):
            if self._settings.of_service(service_of(pool)).model:
                continue
            for name in sorted({one.model for one in those if one.model}):
                if by_name(name) is None and self._new(name):
                    log.warning(
                        "shape of a served model is not known: set model or services", model=name
                    )
        for service in sorted(set(self._settings.services) - set(seen.services)):
            if seen.services and self._new(f"{service}/"):
                log.warning(
                    "services is set for a service without pools",
                    service=service,
                    there=", ".join(filter(None, seen.services)) or "only one, without a name",
                )

    def _new(self, name: str) -> bool:
        new = name not in self._told
        self._told.add(name)
        return new
