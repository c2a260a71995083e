"""The sign lexicon: what the hands, the mouth and the head do in each sign. Glosses and forms are of our own making."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sign:
    """One sign of the lexicon.

    kind: word class that the grammar places; word: spoken-language form in the text.
    hands: "one"; two: "symmetric" (mirrored), "alternating" (mirrored, half a cycle apart), "parallel" (both to the same side of the picture);
        "base": the dominant hand acts on the other one, which has the hand shape `base`.
    shapes, places, facing: at the beginning and, where it differs, at the end; `facing` says where palm and fingers point ("palm fingers", `places.py`).
    movement: "hold", "straight", "arc" (bulging up by `size`, in shoulder widths), "zigzag" (`repeats` swings of `size`), "repeat" (there and back
        `repeats` times), "circle" (radius `size`, `repeats` turns).
    mouth: mouth shapes in order (`face.py`). nonmanual: "shake" of the head, "frown", "blink". wiggle: the fingers flutter.
    duration: relative to the mean sign.
    """

    gloss: str
    kind: str
    word: str
    hands: str
    shapes: tuple[str, ...]
    places: tuple[str, ...]
    movement: str
    facing: tuple[str, ...]
    mouth: str
    duration: float = 1.0
    size: float = 0.0
    repeats: int = 1
    base: str = "flat"
    wiggle: bool = False
    nonmanual: str = ""


# In the order in which a smaller lexicon takes them: the first two dozen differ widely in place, movement and number of hands,
# and any head of the table has word classes that make sentences.
# fmt: off
LEXICON: tuple[Sign, ...] = (
    Sign(gloss="REGEN", kind="weather", word="regen", hands="symmetric", shapes=("claw",), places=("high", "neutral"),
         movement="repeat", facing=("down forward",), mouth="ee", duration=1.3, repeats=2),
    Sign(gloss="MORGEN", kind="time", word="morgen", hands="one", shapes=("thumb",), places=("cheek", "side"),
         movement="arc", facing=("in up",), mouth="oe", size=0.35),
    Sign(gloss="NORD", kind="place", word="im norden", hands="one", shapes=("flat",), places=("neutral", "overhead"),
         movement="straight", facing=("in up",), mouth="o"),
    Sign(gloss="SONNE", kind="weather", word="sonne", hands="one", shapes=("round", "five"), places=("overhead_side",),
         movement="hold", facing=("down in",), mouth="oe"),
    Sign(gloss="KOMMEN", kind="verb", word="kommt", hands="alternating", shapes=("index",), places=("centre",),
         movement="circle", facing=("back in",), mouth="oe", duration=1.2, size=0.28, repeats=2),
    Sign(gloss="MANN", kind="person", word="der mann", hands="one", shapes=("five", "round"), places=("forehead",),
         movement="hold", facing=("down in",), mouth="am"),
    Sign(gloss="SUED", kind="place", word="im süden", hands="one", shapes=("index",), places=("chest", "low"),
         movement="straight", facing=("back down",), mouth="u"),
    Sign(gloss="HEUTE", kind="time", word="heute", hands="symmetric", shapes=("flat",), places=("belly", "low_side"),
         movement="repeat", facing=("up forward",), mouth="oe", duration=1.1, repeats=2),
    Sign(gloss="WIND", kind="weather", word="wind", hands="parallel", shapes=("five",), places=("contra", "side"),
         movement="repeat", facing=("in up",), mouth="if", duration=1.4, repeats=2),
    Sign(gloss="OST", kind="place", word="im osten", hands="one", shapes=("ell",), places=("contra_high", "high_side"),
         movement="straight", facing=("forward up",), mouth="os"),
    Sign(gloss="FRAU", kind="person", word="die frau", hands="one", shapes=("ring",), places=("contra_cheek", "contra_low"),
         movement="straight", facing=("in up",), mouth="fao"),
    Sign(gloss="NICHT", kind="negation", word="nicht", hands="one", shapes=("index",), places=("neutral", "side"),
         movement="repeat", facing=("forward up",), mouth="ix", duration=1.1, repeats=2, nonmanual="shake"),
    Sign(gloss="SCHNEE", kind="weather", word="schnee", hands="symmetric", shapes=("five",), places=("high_side", "low_side"),
         movement="zigzag", facing=("down forward",), mouth="xe", duration=1.4, size=0.14, repeats=3, wiggle=True),
    Sign(gloss="GEHEN", kind="verb", word="geht", hands="base", shapes=("vee",), places=("low_side", "contra_low"),
         movement="straight", facing=("back down",), mouth="ee", duration=1.1, wiggle=True, base="flat"),
    Sign(gloss="WEST", kind="place", word="im westen", hands="one", shapes=("wye",), places=("side", "contra"),
         movement="straight", facing=("back in",), mouth="es"),
    Sign(gloss="KALT", kind="weather", word="kälte", hands="symmetric", shapes=("fist",), places=("shoulder", "contra_shoulder"),
         movement="repeat", facing=("in up",), mouth="al", duration=1.1, repeats=2),
    Sign(gloss="KIND", kind="person", word="das kind", hands="one", shapes=("flat",), places=("low", "low_side"),
         movement="repeat", facing=("down out",), mouth="i", duration=1.1, repeats=2),
    Sign(gloss="GESTERN", kind="time", word="gestern", hands="one", shapes=("thumb",), places=("shoulder",),
         movement="circle", facing=("forward up",), mouth="ee", duration=1.1, size=0.24),
    Sign(gloss="SCHAUEN", kind="verb", word="schaut", hands="symmetric", shapes=("vee",), places=("eye", "side"),
         movement="straight", facing=("down forward",), mouth="xao"),
    Sign(gloss="WARM", kind="weather", word="wärme", hands="one", shapes=("claw",), places=("chest",),
         movement="circle", facing=("back in",), mouth="am", duration=1.1, size=0.24),
    Sign(gloss="WOLKE", kind="weather", word="wolken", hands="symmetric", shapes=("claw",), places=("overhead",),
         movement="circle", facing=("down in",), mouth="oe", duration=1.2, size=0.2),
    Sign(gloss="VIEL", kind="degree", word="viel", hands="symmetric", shapes=("three",), places=("centre", "side"),
         movement="straight", facing=("up forward",), mouth="il", duration=1.1),
    Sign(gloss="ABEND", kind="time", word="am abend", hands="symmetric", shapes=("flat",), places=("overhead_side", "contra"),
         movement="straight", facing=("forward up",), mouth="ae", duration=1.2),
    Sign(gloss="BERG", kind="place", word="in den bergen", hands="symmetric", shapes=("bent",), places=("high", "low"),
         movement="zigzag", facing=("in up",), mouth="e", duration=1.1, size=0.2, repeats=2),
    Sign(gloss="NACHT", kind="time", word="in der nacht", hands="symmetric", shapes=("bent",), places=("high_side", "belly"),
         movement="arc", facing=("down in",), mouth="a", duration=1.1, size=-0.2),
    Sign(gloss="WENIG", kind="degree", word="wenig", hands="one", shapes=("ring",), places=("shoulder", "throat"),
         movement="repeat", facing=("up in",), mouth="ei", repeats=2),
    Sign(gloss="STURM", kind="weather", word="sturm", hands="alternating", shapes=("claw",), places=("high",),
         movement="circle", facing=("down in",), mouth="xu", duration=1.3, size=0.3, repeats=2),
    Sign(gloss="NEBEL", kind="weather", word="nebel", hands="symmetric", shapes=("four",), places=("nose", "side"),
         movement="straight", facing=("back in",), mouth="ee", duration=1.2),
    Sign(gloss="GEWITTER", kind="weather", word="gewitter", hands="one", shapes=("index",), places=("overhead_side", "contra_low"),
         movement="zigzag", facing=("forward up",), mouth="ei", duration=1.2, size=0.2, repeats=2),
    Sign(gloss="EIS", kind="weather", word="eis", hands="symmetric", shapes=("claw", "flat"), places=("neutral",),
         movement="hold", facing=("down forward",), mouth="ais"),
    Sign(gloss="KUESTE", kind="place", word="an der küste", hands="base", shapes=("flat",), places=("contra", "side"),
         movement="arc", facing=("down forward",), mouth="ue", duration=1.1, size=-0.25, base="flat"),
    Sign(gloss="TAL", kind="place", word="im tal", hands="symmetric", shapes=("flat",), places=("side", "low"),
         movement="arc", facing=("in forward",), mouth="al", duration=1.1, size=-0.2),
    Sign(gloss="STADT", kind="place", word="in der stadt", hands="symmetric", shapes=("flat",), places=("centre",),
         movement="circle", facing=("in up",), mouth="xa", duration=1.1, size=0.16, repeats=2),
    Sign(gloss="ZUHAUSE", kind="place", word="zu hause", hands="symmetric", shapes=("flat",), places=("crown", "shoulder"),
         movement="arc", facing=("in up",), mouth="uao", duration=1.1, size=0.1),
    Sign(gloss="MUTTER", kind="person", word="die mutter", hands="one", shapes=("flat",), places=("cheek", "ear"),
         movement="repeat", facing=("in up",), mouth="u", repeats=2),
    Sign(gloss="VATER", kind="person", word="der vater", hands="one", shapes=("hook",), places=("temple", "belly"),
         movement="straight", facing=("back in",), mouth="fa"),
    Sign(gloss="FREUND", kind="person", word="der freund", hands="symmetric", shapes=("hook",), places=("centre", "contra"),
         movement="repeat", facing=("back in",), mouth="foi", duration=1.1, repeats=2),
    Sign(gloss="LEHRER", kind="person", word="der lehrer", hands="alternating", shapes=("round", "five"), places=("temple", "high"),
         movement="repeat", facing=("in up",), mouth="ee", duration=1.1, repeats=2),
    Sign(gloss="ARZT", kind="person", word="der arzt", hands="base", shapes=("two",), places=("wrist", "elbow"),
         movement="repeat", facing=("down in",), mouth="as", repeats=2, base="fist"),
    Sign(gloss="ARBEITEN", kind="verb", word="arbeitet", hands="base", shapes=("fist",), places=("base", "centre"),
         movement="repeat", facing=("down in",), mouth="aai", duration=1.1, repeats=2, base="fist"),
    Sign(gloss="SCHLAFEN", kind="verb", word="schläft", hands="symmetric", shapes=("flat",), places=("ear",),
         movement="hold", facing=("in up",), mouth="xa", duration=1.2, nonmanual="blink"),
    Sign(gloss="ESSEN", kind="verb", word="isst", hands="one", shapes=("round",), places=("mouth", "chin"),
         movement="repeat", facing=("back in",), mouth="es", repeats=2),
    Sign(gloss="TRINKEN", kind="verb", word="trinkt", hands="one", shapes=("cee",), places=("chest", "mouth"),
         movement="arc", facing=("in forward",), mouth="i", size=0.1),
    Sign(gloss="WARTEN", kind="verb", word="wartet", hands="symmetric", shapes=("five",), places=("low", "belly"),
         movement="repeat", facing=("back in",), mouth="ae", duration=1.2, repeats=2, wiggle=True),
    Sign(gloss="LACHEN", kind="verb", word="lacht", hands="one", shapes=("ell",), places=("cheek", "high"),
         movement="repeat", facing=("back in",), mouth="ae", repeats=2),
    Sign(gloss="NIE", kind="negation", word="nie", hands="symmetric", shapes=("fist", "five"), places=("throat", "low_side"),
         movement="straight", facing=("in forward",), mouth="i", nonmanual="shake"),
    Sign(gloss="AUTO", kind="thing", word="das auto", hands="alternating", shapes=("fist",), places=("neutral", "belly"),
         movement="repeat", facing=("in forward",), mouth="ao", duration=1.1, repeats=2),
    Sign(gloss="BUCH", kind="thing", word="das buch", hands="symmetric", shapes=("flat",), places=("throat",),
         movement="hold", facing=("in forward", "back up"), mouth="u", duration=1.1),
    Sign(gloss="BROT", kind="thing", word="das brot", hands="base", shapes=("flat",), places=("elbow", "base"),
         movement="repeat", facing=("in forward",), mouth="o", repeats=2, base="fist"),
    Sign(gloss="SCHULE", kind="thing", word="die schule", hands="symmetric", shapes=("wye",), places=("temple", "side"),
         movement="straight", facing=("forward up",), mouth="xu", duration=1.1),
    Sign(gloss="HABEN", kind="action", word="hat", hands="one", shapes=("five", "fist"), places=("side", "chest"),
         movement="straight", facing=("back in",), mouth="af"),
    Sign(gloss="SUCHEN", kind="action", word="sucht", hands="one", shapes=("cee",), places=("eye",),
         movement="circle", facing=("in up",), mouth="u", duration=1.2, size=0.22, repeats=2),
    Sign(gloss="KAUFEN", kind="action", word="kauft", hands="base", shapes=("round",), places=("base", "side"),
         movement="arc", facing=("up forward",), mouth="ao", size=0.2, base="flat"),
    Sign(gloss="BRAUCHEN", kind="action", word="braucht", hands="symmetric", shapes=("bent",), places=("shoulder", "belly"),
         movement="straight", facing=("back in",), mouth="ao"),
    Sign(gloss="GROSS", kind="adjective", word="groß", hands="symmetric", shapes=("flat",), places=("chest", "high_side"),
         movement="straight", facing=("in forward",), mouth="o", duration=1.1),
    Sign(gloss="KLEIN", kind="adjective", word="klein", hands="symmetric", shapes=("cee",), places=("side", "centre"),
         movement="straight", facing=("in forward",), mouth="ai"),
    Sign(gloss="SCHOEN", kind="adjective", word="schön", hands="one", shapes=("five", "ring"), places=("crown", "chin"),
         movement="arc", facing=("back in",), mouth="xo", duration=1.1, size=-0.2),
    Sign(gloss="NEU", kind="adjective", word="neu", hands="base", shapes=("thumb",), places=("contra", "neutral"),
         movement="arc", facing=("up forward",), mouth="oi", size=-0.2, base="flat"),
    Sign(gloss="WANN", kind="question", word="wann", hands="one", shapes=("five",), places=("throat", "chest"),
         movement="repeat", facing=("up forward",), mouth="af", duration=1.1, repeats=2, wiggle=True, nonmanual="frown"),
    Sign(gloss="WARUM", kind="question", word="warum", hands="one", shapes=("hook",), places=("contra_shoulder", "shoulder"),
         movement="repeat", facing=("back in",), mouth="au", duration=1.1, repeats=2, nonmanual="frown"),
    Sign(gloss="DANN", kind="time", word="dann", hands="one", shapes=("ell",), places=("chest", "side"),
         movement="arc", facing=("down in", "up out"), mouth="a", duration=0.9, size=0.3),
    Sign(gloss="WOCHE", kind="time", word="in dieser woche", hands="base", shapes=("index",), places=("elbow", "base"),
         movement="straight", facing=("down forward",), mouth="oe", base="flat"),
    Sign(gloss="SOMMER", kind="time", word="im sommer", hands="one", shapes=("hook",), places=("contra_high", "temple"),
         movement="straight", facing=("down in",), mouth="oe"),
    Sign(gloss="WINTER", kind="time", word="im winter", hands="alternating", shapes=("little",), places=("contra", "neutral"),
         movement="repeat", facing=("in up",), mouth="ie", duration=1.2, repeats=2),
)
# fmt: on
