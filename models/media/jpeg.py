"""The size of a JPEG picture by its head, so that limits hold before anything is decoded."""

from __future__ import annotations

from models.errors import RecordingError

START = b"\xff\xd8"
# Markers that begin a frame (ITU-T T.81, table B.1): C0 to CF, but for tables (C4, C8) and arithmetic conditioning (CC).
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises RecordingError where it is no JPEG picture, or says none."""
    if not content.startswith(START):
        raise RecordingError("not a JPEG picture")
    place = len(START)
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            place += 1
        elif marker in ALONE:
            place += 2
        elif marker in FRAMES:
            height, width = (int.from_bytes(content[place + start : place + start + 2], "big") for start in (5, 7))
            if place + 9 > len(content) or not (width and height):
                break
            return width, height
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    raise RecordingError("a JPEG picture that doesn't say its size, or is cut off")
