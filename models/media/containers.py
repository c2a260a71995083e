"""Which container a file is, by its first bytes: its name proves nothing, and a demuxer must never be guessed for it.

FFmpeg's own guess would take a text for a playlist and open whatever files that names.
"""

from __future__ import annotations

HEAD_BYTES = 16

_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})  # what a QuickTime or MP4 file may begin with
_SIGNATURES = (
    (b"\x1a\x45\xdf\xa3", "matroska"),  # and WebM
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)


def container_of(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins with `head` (HEAD_BYTES of it); None where it is no video that we read."""
    if head[4:8] in _BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)
