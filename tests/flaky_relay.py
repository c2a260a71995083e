"""A TCP relay between a client and a server, which can do what networks do: refuse, hang, cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Mode = Literal["pass", "hang", "refuse", "cut"]
BLOCK = 1 << 16


class Relay:
    """Listens on a port of 127.0.0.1 and passes bytes to `target`.

    hang: what is sent isn't answered, as if the server stood still. refuse: connections end at once.
    cut: a connection ends when the client has sent `cut_after` bytes through it, as an upload that breaks off.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.mode: Mode = "pass"
        self.cut_after = 1 << 18
        self.cuts = 0  # how often it ended a connection, or a direction of one
        self._to_cut: int | None = None  # of them before it passes again; None as long as `mode` says
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listener.close()

    @contextmanager
    def disturbed(self, mode: Mode, seconds: float) -> Iterator[None]:
        """The mode from now on for so long, while the block goes on; waits for its end."""
        self.mode = mode
        timer = threading.Timer(seconds, self._calm)
        timer.start()
        try:
            yield
        finally:
            timer.join()

    @contextmanager
    def cutting(self, times: int, *, after: int) -> Iterator[None]:
        """Within the block, cut the first so many connections that have sent `after` bytes."""
        before = self.cut_after
        self.cut_after, self._to_cut, self.mode = after, self.cuts + times, "cut"
        try:
            yield
        finally:
            self.cut_after, self._to_cut = before, None
            self._calm()

    def _calm(self) -> None:
        self.mode = "pass"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "refuse":
            self.cuts += 1
            client.close()
            return
        with suppress(OSError), client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            back.start()
            self._pass(client, server, True)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        passed = 0
        with suppress(OSError):
            while block := source.recv(BLOCK):
                while self.mode == "hang":
                    time.sleep(0.02)
                passed += len(block)
                if self.mode == "refuse" or (up and self.mode == "cut" and passed > self.cut_after):
                    self.cuts += 1
                    if self._to_cut is not None and self.cuts >= self._to_cut:
                        self._calm()
                    break
                target.sendall(block)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
