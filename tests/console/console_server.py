"""The console in its own process, behind a token: `python -m tests.console.console_server TOKEN`.

Prints the port it listens on. NiceGUI keeps its pages per process, so a second console needs one.
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastapi import FastAPI

from advisor.console.page import register
from tests.console.console_fake import FakeSource


def main() -> None:
    """Serve until stopped."""
    app = FastAPI()
    register(app, FakeSource(), token=sys.argv[1])
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])


if __name__ == "__main__":
    main()
