"""The one file of a multipart form, read in memory: Starlette's own parser writes larger files to disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serve.problems import ProblemError

FIELD = "file"
MAX_PARTS = 8
MAX_HEADER_BYTES = 16384


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get(b"content-disposition", b"").decode("latin-1"))[1]


@dataclass
class _Collector:
    """What the parser's callbacks fill."""

    parts: list[_Part] = field(default_factory=list)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def on_part_begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise ProblemError("too-large", f"a form of more than {MAX_PARTS} parts: send one file in the field {FIELD!r}")
        self.parts.append(_Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]
        self._check_header()

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]
        self._check_header()

    def on_header_end(self) -> None:
        self.parts[-1].headers[bytes(self.name).lower()] = bytes(self.value)
        self.name.clear()
        self.value.clear()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def on_end(self) -> None:
        self.ended = True

    def _check_header(self) -> None:
        if len(self.name) + len(self.value) > MAX_HEADER_BYTES:
            raise ProblemError("too-large", f"a header of a part has more than {MAX_HEADER_BYTES} bytes")


def form_file(content_type: str, body: bytes) -> tuple[str, bytes]:
    """File name and content of the form's field `file`. Raises ProblemError where the form is malformed or has no such field."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise ProblemError("bad-request", "multipart/form-data without a boundary")
    found = _Collector()
    callbacks = ("on_part_begin", "on_header_field", "on_header_value", "on_header_end", "on_part_data", "on_end")
    try:
        parser = MultipartParser(boundary, {name: getattr(found, name) for name in callbacks})  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise ProblemError("bad-request", f"the multipart form is malformed: {' '.join(str(error).split())[:100]}") from None
    if not found.ended:
        raise ProblemError("bad-request", "the multipart form is cut off")
    for part in found.parts:
        if part.disposition.get(b"name") == FIELD.encode():
            return part.disposition.get(b"filename", b"").decode("utf-8", "replace"), bytes(part.content)
    raise ProblemError("bad-request", f"the form has no field {FIELD!r} with the keypoint file")
