"""Tables that anybody may add to: found without a list, in this package and in others."""

import subprocess
import sys

import pytest

from lagsearch.errors import LagsearchError, PluginError
from lagsearch.registry import Registry

MODULE = """
from {table} import SPICES

SPICES.enter({name!r}, {name!r}.upper(), __name__)
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Make a package with a table; return what writes modules and installs distributions."""
    monkeypatch.syspath_prepend(tmp_path)
    package = f"shelf_{tmp_path.name}".replace("-", "_")

    class Shelf:
        table = Registry("spice", f"{package}.home", "shelf.spices")

        def write(self, name, text):
            path = tmp_path / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        def spice(self, name, module):
            self.write(module, MODULE.format(table=f"{package}_table", name=name))

        def install(self, distribution, **points):
            info = tmp_path / f"{distribution}-1.2.dist-info"
            info.mkdir()
            info.joinpath("METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
            lines = [f"{name} = {value}" for name, value in points.items()]
            info.joinpath("entry_points.txt").write_text("\n".join(["[shelf.spices]", *lines]))

    found = Shelf()
    found.package = package
    found.write(f"{package}.home.__init__", "")
    found.write(f"{package}_table", "")
    module = __import__(f"{package}_table")
    module.SPICES = found.table
    found.spice("salt", f"{package}.home.b")
    found.spice("anise", f"{package}.home.c")
    yield found
    for name in [each for each in sys.modules if each.startswith((package, "alien"))]:
        del sys.modules[name]


def test_modules_of_the_folder_are_found_at_the_first_lookup(shelf):
    assert f"{shelf.package}.home.b" not in sys.modules
    assert shelf.table.get("salt") == "SALT"
    assert shelf.table.names() == ["salt", "anise"]
    assert shelf.table.all() == ("SALT", "ANISE")
    assert shelf.table.get("sugar") is None
    assert shelf.table.unknown("slat") == (
        "spice 'slat' is unknown; did you mean 'salt'? known: anise, salt"
    )


def test_other_packages_come_behind_whatever_is_imported_first(shelf):
    shelf.spice("thyme", "alien_a")
    shelf.spice("mint", "alien_b")
    shelf.install("zest", a="alien_a")
    shelf.install("herbs", b="alien_b")
    __import__("alien_b")
    __import__(f"{shelf.package}.home.c")
    assert shelf.table.names() == ["salt", "anise", "thyme", "mint"]


def test_two_entry_points_may_name_one_module(shelf):
    shelf.spice("mint", "alien_m")
    shelf.install("zest", a="alien_m", b="alien_m:SPICES")
    assert shelf.table.names() == ["salt", "anise", "mint"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"ModuleNotFoundError: No module named 'alien'"),
        ("1 / 0", r"ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", r"SystemExit: 3"),
        ("def x(:", r"SyntaxError: .*alien.py, line 1\)"),
        ("x = 1", r"adds no spice"),
    ],
)
def test_a_broken_package_is_one_line_each_time(shelf, text, message):
    if text is not None:
        shelf.write("alien", text)
    shelf.install("zest", hot="alien")
    start = r"^zest 1\.2: entry point hot = alien of shelf\.spices: "
    for _ in range(2):
        with pytest.raises(PluginError, match=start + message) as failure:
            shelf.table.get("salt")
        assert "\n" not in str(failure.value)
    assert failure.value.exit_code == 2


def test_a_name_that_is_there_twice_names_both(shelf):
    shelf.spice("salt", "alien_s")
    shelf.install("zest", hot="alien_s")
    both = rf"zest 1\.2: .*spice 'salt' is there twice: {shelf.package}\.home\.b and alien_s"
    with pytest.raises(LagsearchError, match=both):
        shelf.table.names()


def test_a_module_may_look_up_while_all_are_read(shelf):
    shelf.write("alien", f"from {shelf.package}_table import SPICES\nx = SPICES.get('salt')\n")
    shelf.spice("mint", "alien_m")
    shelf.write("alien_both", "import alien, alien_m")
    shelf.install("zest", hot="alien_both")
    assert shelf.table.names()[-1] == "mint"
    assert sys.modules["alien"].x == "SALT"


def test_records_enter_by_themselves_once(shelf):
    text = "from pathlib import PurePosixPath as Path\nA = Path('x/a')\n_B = Path('x/b')\n"
    shelf.write("alien.__init__", "")
    shelf.write("alien.one", text)
    shelf.write("alien.two", "from alien.one import A, Path\nC = Path('x/c')\nD = [A]\n")
    from pathlib import PurePosixPath

    table = Registry("path", "alien", "shelf.paths", PurePosixPath)
    assert table.names() == ["a", "c"]


def test_a_lookup_loads_no_torch():
    code = "import sys\n" + "\n".join(f"import {module}; {call}" for module, call in TABLES)
    code += "\nprint([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


TABLES = [
    ("lagsearch.models.families", "lagsearch.models.families.find_family('llama', {})"),
    ("lagsearch.operators", "lagsearch.operators.all_operators()"),
    ("lagsearch.data.objectives.registry", "lagsearch.data.objectives.registry.OBJECTIVES.all()"),
    ("lagsearch.selection", "lagsearch.selection.SIGNALS.all()"),
    ("lagsearch.selection", "lagsearch.selection.EVIDENCE.all()"),
]
