"""What happens to files by machines and by hands, drawn from a seed: the cases of several tests."""

import gzip
import json
import re
import shutil

SMALL = (
    ("steps: 20", "steps: 4"),
    ("steps: 24", "steps: 6"),
    ("lag: 10", "lag: 2"),
    ("index: [0, 2]", "index: 0"),
    ("batches: 4", "batches: 2"),
)
"""What makes the tiny space of `conftest` a smaller one, for many runs."""

BIG = "9" * 5000
BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMB = f"a: &a [{', '.join(['1'] * 10)}]\n{BOMB}"

VALUES = (
    *("null", "true", "[]", "{}", "-1", "0", "1", "1e308", "-1e308", ".nan", ".inf", "1.5", "''"),
    *("[1, 2]", "{a: 1}", "'text'", "2001-13-45", "2001-12-14t21:59:43.10-05:00", "0x1F", "0o17"),
    *(
        "'=cmd()'",
        '"\\0"',
        '"\\e[31m"',
        '"\\ud800"',
        "'../../etc/passwd'",
        "!!python/object:os.x 1",
    ),
    *("!!binary aGVsbG8=", "*nothing", "&a [*a]", "@x", "`x`", "%x", "|", ">-", "- - -", "? a : b"),
    *(
        "1_000",
        "1e-400",
        "99999999999999999999",
        "'" + "x" * 300 + "'",
        "a" * 5000,
        BIG,
        "/dev/zero",
    ),
    *("[[[[[[[[[[]]]]]]]]]]", "'\U0001f4a5'", "\ufeff1", "<<: {a: 1}", "yes", "~", "0.0", "123e4"),
)
"""What takes the place of a value."""

_KEY = re.compile(r"^(\s*(?:- )?\{?)([A-Za-z_]+)(: ?)(.*)$")


def _at_a_key(change):
    """Return what changes one line with a key: from its indentation, key, colon and value."""

    def mutation(text, random):
        lines = text.splitlines()
        at = random.choice([number for number, line in enumerate(lines) if _KEY.match(line)])
        lines[at] = change(*_KEY.match(lines[at]).groups(), random)
        return _joined(lines)

    return mutation


def _at_a_line(change):
    """Return what changes the list of lines at a place."""

    def mutation(text, random):
        lines = text.splitlines()
        change(lines, random.randrange(len(lines)), random)
        return _joined(lines)

    return mutation


def _joined(lines):
    return "\n".join(lines) + "\n"


def _in_flow(text, random):
    where = random.choice([*re.finditer(r"(?<=[:,\[] )[^,\]\}\s]+|(?<=\[)[^,\]\}]+", text)])
    return text[: where.start()] + random.choice(VALUES) + text[where.end() :]


def _a_character(text, random):
    spot, new = random.randrange(len(text)), random.choice(_CHARACTERS)
    return text[:spot] + new + text[spot + random.randrange(2) :]


def _swap(lines, place, random):
    other = random.randrange(len(lines))
    lines[place], lines[other] = lines[other], lines[place]


def _indent(lines, place, random):
    lines[place] = random.choice(("", " ", "   ", "\t")) + lines[place].lstrip()


def _another_key(before, key, colon, value, random):
    return f"{before}{random.choice((key[:-1], key.upper(), '', '1', BIG))}{colon}{value}"


def _another_value(before, key, colon, value, random):
    return f"{before}{key}{colon or ': '}{random.choice(VALUES)}"


def _unknown_key(before, key, colon, value, random):
    return f"{before}unheard_of: {random.choice(VALUES)}\n{before}{key}{colon}{value}"


_CHARACTERS = "\0\x1b\x7f\u2028\ufeff\U0001f4a5{}[]:,&*!|>'\"%@`#-?\t\r\n"

MUTATIONS = {
    "value": _at_a_key(_another_value),
    "value in a flow": _in_flow,
    "key": _at_a_key(_another_key),
    "unknown key": _at_a_key(_unknown_key),
    "line lost": _at_a_line(lambda lines, place, random: lines.pop(place)),
    "line twice": _at_a_line(lambda lines, place, random: lines.insert(place, lines[place])),
    "lines changed": _at_a_line(_swap),
    "indentation": _at_a_line(_indent),
    "cut off": lambda text, random: text[: random.randrange(len(text))],
    "character": _a_character,
    "aliases": lambda text, random: text + BOMB,
}


def mutated(text, random):
    """Return what is left of a space file after something happened to it, and what that was."""
    kind = random.choice(sorted(MUTATIONS))
    return MUTATIONS[kind](text, random), kind


def edited(path, change):
    """Change the JSON in a file."""
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def relined(path, change):
    """Change the list of a file's lines."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def _without_a_batch(line):
    """Return an evaluation of fewer batches, and of their mean."""
    entry = json.loads(line)
    losses = entry["val_loss_batches"][:-1]
    mean = sum(losses) / len(losses)
    return json.dumps({**entry, "val_loss_batches": losses, "val_loss": mean})


def _with(key, value):
    """Return a change of a line's value."""
    return lambda line: json.dumps({**json.loads(line), key: value})


def _in_line(number, change):
    return lambda path: relined(
        path, lambda rows: [*rows[:number], change(rows[number]), *rows[number + 1 :]]
    )


def _packed_and_cut(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()


def _into_folder(path):
    path.unlink()
    path.mkdir()


def _linked_to(where):
    def link(path):
        path.unlink()
        path.symlink_to(where)

    return link


CURVES = {
    "bytes that are no text": lambda path: path.write_bytes(path.read_bytes() + b"\xff\xfe\n"),
    "text for a loss": _in_line(1, _with("val_loss", "much")),
    "a batch lost": _in_line(1, _without_a_batch),
    "a batch lost at every step": lambda path: relined(
        path, lambda rows: [*map(_without_a_batch, rows)]
    ),
    "a broken line in the middle": _in_line(1, lambda line: line[:30]),
    "an evaluation lost": lambda path: relined(path, lambda rows: [*rows[:1], *rows[2:]]),
    "lines the other way round": lambda path: relined(path, lambda rows: rows[::-1]),
    "not a number": _in_line(1, _with("val_loss", float("nan"))),
    "a loss of 1e308": lambda path: relined(
        path,
        lambda rows: [
            *rows[:1],
            _with("val_loss", 1e308)(_with("val_loss_batches", [1e308, 1e308])(rows[1])),
            *rows[2:],
        ],
    ),
    "5,000 digits": _in_line(1, lambda line: line.replace('"step": ', f'"step": {BIG}', 1)),
    "a digit of a loss": _in_line(1, _with("val_loss", 2.5)),
    "cut off at the end": lambda path: path.write_bytes(path.read_bytes()[:-25]),
    "packed and cut off": _packed_and_cut,
    "a folder in its place": _into_folder,
    "a device in its place": _linked_to("/dev/zero"),
}
"""What happens to a curve of a run folder."""


def _of(name, change):
    return lambda folder: edited(folder / name, change)


def _without(key):
    return lambda value: {name: each for name, each in value.items() if name != key}


RECORDS = {
    "environment without wall_s": _of("environment.json", _without("wall_s")),
    "environment is a list": _of("environment.json", lambda value: [value]),
    "environment with words for seeds": _of(
        "environment.json", lambda value: {**value, "seeds": "three"}
    ),
    "environment with sources of another shape": _of(
        "environment.json", lambda value: {**value, "sources": {"small": 1}}
    ),
    "environment with NaN": _of(
        "environment.json", lambda value: {**value, "wall_s": {"search": float("nan")}}
    ),
    "environment cut off": lambda folder: (folder / "environment.json").write_bytes(
        (folder / "environment.json").read_bytes()[:100]
    ),
    "environment of 5,000 digits": lambda folder: (folder / "environment.json").write_text(
        f'{{"slots": {BIG}}}'
    ),
    "environment nested without end": lambda folder: (folder / "environment.json").write_text(
        "[" * 200_000
    ),
    "environment is no text": lambda folder: (folder / "environment.json").write_bytes(b"\xff{}"),
    "plans without candidates": _of("plans.json", _without("candidates")),
    "plans with a number for a name": _of(
        "plans.json", lambda value: {**value, "candidates": [{**value["candidates"][0], "name": 7}]}
    ),
    "plans empty": lambda folder: (folder / "plans.json").write_text(""),
    "space cut off": lambda folder: (folder / "space.yaml").write_bytes(
        (folder / "space.yaml").read_bytes()[:300]
    ),
    "space is no text": lambda folder: (folder / "space.yaml").write_bytes(b"name: \xff\n"),
}
"""What happens to the records of a run folder."""


def _flip(path):
    """Turn one bit over, in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _bit(kind, name):
    return lambda cache: _flip(next(cache.glob(f"{kind}/*/{name}")))


def _cut(kind, name):
    def cut(cache):
        path = next(cache.glob(f"{kind}/*/{name}"))
        path.write_bytes(path.read_bytes()[:-100])

    return cut


def _lose(kind, name):
    return lambda cache: next(cache.glob(f"{kind}/*/{name}")).unlink()


def _empty(kind, name):
    return lambda cache: next(cache.glob(f"{kind}/*/{name}")).write_bytes(b"")


def _zero(kind, name):
    def zero(cache):
        path = next(cache.glob(f"{kind}/*/{name}"))
        path.write_bytes(bytes(path.stat().st_size))

    return zero


CACHE = {
    "a bit of a source's weights": _bit("sources", "state.safetensors"),
    "a source's state cut off": _cut("sources", "state.safetensors"),
    "a source's state zeroed": _zero("sources", "state.safetensors"),
    "a source's state lost": _lose("sources", "state.safetensors"),
    "a bit of a source's record": _bit("sources", "source.json"),
    "a source's record cut off": _cut("sources", "source.json"),
    "a bit of a source's curve": _bit("sources", "curve.jsonl"),
    "a bit of a source's seal": _bit("sources", "seal.json"),
    "a bit of the tokens": _bit("tokens", "train.bin"),
    "the tokens cut off": _cut("tokens", "train.bin"),
    "the validation tokens zeroed": _zero("tokens", "validation.bin"),
    "the validation tokens lost": _lose("tokens", "validation.bin"),
    "a bit of the tokens' record": _bit("tokens", "store.json"),
    "the tokens' record empty": lambda cache: next(cache.glob("tokens/*/store.json")).write_text(
        ""
    ),
    "the tokenizer lost": lambda cache: shutil.rmtree(next(cache.glob("tokens/*/tokenizer"))),
    "a bit of the tokenizer": _bit("tokens", "tokenizer/tokenizer.json"),
}
"""What happens to the cache."""
