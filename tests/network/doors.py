"""Servers of a few lines that stand before, or in for, a real one."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def answering(answer: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port whose every caller is handed to `answer`, behind TLS if there is a context."""

    class Caller(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                if context is None:
                    answer(self.request)
                else:
                    with context.wrap_socket(self.request, server_side=True) as safe:
                        answer(safe)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Caller) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def tls_door(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port that carries what it decrypts to `port`, and back."""

    def carry(caller: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=_copy, args=(server, caller), daemon=True)
            back.start()
            _copy(caller, server)
            back.join(1)

    with answering(carry, context) as door:
        yield door


@contextmanager
def silence() -> Iterator[int]:
    """A port that takes every connection and never says a word."""
    ending = threading.Event()
    with answering(lambda caller: ending.wait(60) and None) as port:
        try:
            yield port
        finally:
            ending.set()


@contextmanager
def speech(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A port that answers the n-th HTTP request with the n-th of `answers`, the last for ever; and the requests."""
    heard: list[bytes] = []

    def answer(caller: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            part = caller.recv(65536)
            if not part:
                return
            request += part
        heard.append(request)
        caller.sendall(answers[min(len(heard), len(answers)) - 1])

    with answering(answer) as port:
        yield port, heard


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
