"""The error tree, sorted by what the caller does next.

::

    RidgelineError
    ├── NoData          nothing here and that is not a fault: log at debug, go on
    ├── Retry           a dependency is away: back off, try again, lose nothing
    ├── Reject          this input can never be read: dead-letter it with the reason, go on
    └── Misconfigured   a person must change a setting: exit at start with its name
"""


class RidgelineError(Exception):
    """Root of every error Ridgeline raises on purpose."""


class NoData(RidgelineError):
    """The source has nothing to read (no driver, no device). Not a fault."""


class Retry(RidgelineError):
    """A dependency is unavailable; the same call may succeed later."""


class Reject(RidgelineError):
    """The input is unreadable for ever: it belongs in the dead letter.

    Args:
        field: Which part of the input is wrong.
        value: What was found there, as a person would read it.
        reason: What was expected instead.
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        self.field = field
        self.value = value
        self.reason = reason
        super().__init__(f"{field}={value!r}: {reason}")


class Misconfigured(RidgelineError):
    """A setting is wrong or missing.

    Args:
        setting: Its environment variable or option, as the operator writes it.
        problem: What is wrong and what would be right.
    """

    def __init__(self, setting: str, problem: str) -> None:
        self.setting = setting
        self.problem = problem
        super().__init__(f"{setting}: {problem}")
