"""What a hash of code covers, and what only people read."""

from __future__ import annotations

import pytest

from benchmarks.records.identity.syntax import Import, parse_source, read_source

SOURCE = '''\
"""A module."""
import math
from pkg import name as other

LIMIT = 3  # images
"""What LIMIT is."""
METRIC = Metric("%", title="accuracy", scale=1.0)


@register("x")
def f(a, b=1, *, c: int = 2):
    """Add."""
    assert a > 0, "a must be positive"
    if a > LIMIT:
        raise ValueError(f"{a} is more than {LIMIT}")
    if a < -1:
        raise TooLowError("too low: " + str(a), a)
    print_option("--x", help="the x")
    return a + b * math.pi
'''

SAME = {
    "a comment": ("  # images", "  # pictures, at most"),
    "the docstring of a module": ('"""A module."""\n', ""),
    "the docstring of a function": ('"""Add."""', '"""Add both.\n\n    Twice.\n    """'),
    "a bare string": ('"""What LIMIT is."""', '"""The most images."""'),
    "a title": ('title="accuracy"', 'title="Accuracy (top-1)"'),
    "a title that is left out": (', title="accuracy"', ""),
    "the help of an option": ('help="the x"', 'help=f"the {LIMIT}th x"'),
    "the text of an error": ("is more than", "exceeds"),
    "what an error shows": ('f"{a} is more than {LIMIT}"', '"a is too large"'),
    "a joined text of an error": ('"too low: " + str(a)', '"below -1: {}".format(a)'),
    "the text of an assertion": (', "a must be positive"', ', "positive, please"'),
    "layout": ("a + b * math.pi", "(\n        a + b * math.pi\n    )"),
    "quotes": ('"--x"', "'--x'"),
    "a pass beside a docstring": ('"""Add."""', '"""Add."""\n    pass'),
}
OTHER = {
    "an operator": ("a + b", "a - b"),
    "a default": ("b=1", "b=2"),
    "the default of a keyword": ("c: int = 2", "c: int = 3"),
    "a constant": ("LIMIT = 3", "LIMIT = 4"),
    "the type of a constant": ("LIMIT = 3", "LIMIT = 3.0"),
    "a comparison": ("a > LIMIT", "a >= LIMIT"),
    "the class of an error": ("raise ValueError", "raise KeyError"),
    "a value that an error carries": ("str(a), a)", "str(a), b)"),
    "the condition of an error": ("a < -1", "a < -2"),
    "an argument that is no text": ("scale=1.0", "scale=2.0"),
    "a text that is no title": ('Metric("%"', 'Metric("s"'),
    "a number as a title": ('title="accuracy"', "title=3"),
    "a decorator": ('@register("x")', '@register("y")'),
    "an import": ("from pkg import name", "from pkg import title"),
    "an order": ("LIMIT = 3  # images", "LIMIT = LIMIT_2 = 3"),
    "a return of nothing": ("return a + b * math.pi", "return"),
}  # fmt: skip


def digest(text: str) -> str:
    return parse_source(text.encode()).digest


def changed(old: str, new: str) -> str:
    assert SOURCE.count(old) == 1, old
    return SOURCE.replace(old, new)


@pytest.mark.parametrize("what", SAME)
def test_what_is_written_for_people_changes_no_hash(what: str) -> None:
    assert digest(changed(*SAME[what])) == digest(SOURCE)


@pytest.mark.parametrize("what", OTHER)
def test_whatever_can_decide_a_number_changes_the_hash(what: str) -> None:
    assert digest(changed(*OTHER[what])) != digest(SOURCE)


def test_none_and_nothing_are_told_apart() -> None:
    pairs = [("return", "return None"), ("x = {**a}", "x = {None: a}"), ("x = 1", "x = True")]
    for one, other in pairs:
        assert digest(f"def f():\n  {one}") != digest(f"def f():\n  {other}")


def test_the_hash_is_of_no_python_version() -> None:
    # The tests run under several: ``ast.dump`` differs between them, and trees of f-strings do.
    text = "class A:\n    def f(self, *, a=None):\n        return [a for a in f'{a!r:>{3}}']\n"
    assert digest(text) == ("2aa86ef55a9eb0d79a72d792a7ea1e36d67c9bace097cd68dc7a9979ed583fce")


def test_what_is_not_python_is_hashed_as_it_is() -> None:
    for text in (b"def f(:\n", b"\x00\xff", "x = '\ud800'".encode("utf-8", "surrogatepass")):
        assert parse_source(text) == parse_source(text)
        assert parse_source(text).digest != parse_source(text + b"#").digest


def test_imports_are_found_wherever_they_are_but_for_type_checking(tmp_path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "import a.b as c\nfrom . import near\nfrom ..far import thing\n"
        "if TYPE_CHECKING:\n    import never\nelse:\n    import always\n"
        "def f(name):\n    from inner import x\n    import_module('by.name')\n"
        "    importlib.import_module('.beside', __package__)\n    return __import__(name)\n"
    )
    found = read_source(file)
    assert found.imports == {
        Import(0, "a.b"),
        Import(1, "", "near"),
        Import(2, "far", "thing"),
        Import(0, "always"),
        Import(0, "inner", "x"),
        Import(0, "by.name"),
        Import(1, "beside"),
    }
    assert found.dynamic
    assert found.bound["c"] == Import(0, "a.b")
    file.write_text("import other")
    assert read_source(file).imports == {Import(0, "other")}, "a changed file is read again"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("raise Chosen('relu')", "raise Chosen('gelu')"),
        ("raise StopIteration('relu')", "raise StopIteration('gelu')"),
        ("layer = dict(title='relu')", "layer = dict(title='gelu')"),
    ],
)
def test_a_text_that_may_be_a_value_counts(before: str, after: str) -> None:
    """An exception that is no error may carry a choice, and a mapping is data."""
    assert digest(before) != digest(after)
