"""What kind of growth a candidate is, in a word or two: the same for sizes and places."""

from collections.abc import Mapping, Sequence


def label_of(operator: str, settings: Mapping[str, object], also: Sequence[str]) -> str:
    """Return what a candidate is, in a word or two.

    Args:
        operator: The operator's name.
        settings: Its settings.
        also: Names of others that come to the same growth: a plain one is the better name.
    """
    if plain := [name for name in ("stack", "interleave") if name in also]:
        return plain[0]
    if operator == "combined":
        parts = [settings[key] for key in ("width", "depth")]
        names = [each["operator"] if isinstance(each, Mapping) else each for each in parts]
        return " + ".join(map(str, names))
    more = [
        settings.get("init") if operator == "lag" else None,
        "faded in" if settings.get("ramp_steps") else None,
        "with noise" if operator in ("stack", "net2net") and settings.get("noise") else None,
    ]
    return " ".join(str(each) for each in (operator, *more) if each)
