"""The server of the page: on the loopback interface alone, until Ctrl-C."""

import contextlib
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from triher.errors import StopRun
from triher.view.app import make_app
from triher.view.guard import Session
from triher.view.viewed import Viewed

_ADDRESS = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """Take a port of this machine that no other machine reaches.

    Args:
        port: 0 for any that is free.

    Raises:
        StopRun: ``port_taken``.
    """
    try:
        return socket.create_server((_ADDRESS, port))
    except OSError as error:
        raise StopRun("port_taken", f"cannot listen on {_ADDRESS}:{port}: {error.strerror}") from error


def new_session(listening: socket.socket) -> Session:
    """A session with a token of its own."""
    return Session(listening.getsockname()[1], secrets.token_urlsafe(32))


def address(session: Session) -> str:
    """What to open in a browser; whoever knows it may look."""
    return f"http://{_ADDRESS}:{session.port}/?token={session.token}"


def address_for_once(session: Session) -> str:
    """What opens the page a single time: a browser's command line shows it to all users of the machine."""
    token = secrets.token_urlsafe(32)
    session.once.add(token)
    return f"http://{_ADDRESS}:{session.port}/?token={token}"


def make_server(viewed: Viewed, session: Session) -> uvicorn.Server:
    """A server that logs nothing: its log would hold the token."""
    config = uvicorn.Config(
        make_app(viewed, session),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve(viewed: Viewed, port: int, *, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serve a run until Ctrl-C.

    Args:
        viewed: the run.
        port: 0 for any that is free.
        open_browser: whether to open the page in the user's browser.
        say: told the page's address, as soon as it can be opened.

    Raises:
        StopRun: ``port_taken``.
    """
    listening = listen(port)
    session = new_session(listening)
    say(address(session))
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address_for_once(session),), daemon=True).start()
    with contextlib.closing(listening), contextlib.suppress(KeyboardInterrupt):
        make_server(viewed, session).run(sockets=[listening])
