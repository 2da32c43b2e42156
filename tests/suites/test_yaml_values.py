"""What people write into YAML: read as it is meant, or refused with file, line and key."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cli.check import read_options, read_value
from benchmarks.suites.document import Document, read_text
from tasks.errors import UserError


def value(text: str) -> object:
    return Document("mine.yaml", text).value("it")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e-3", 0.001),
        ("1e5", 100000.0),
        ("1E+5", 100000.0),
        (".5e3", 500.0),
        ("1.5e3", 1500.0),
        ("-1.5e-3", -0.0015),
        ("5.", 5.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("0x1F", 31),
        ("0b11", 3),
        ("-7", -7),
        ("0", 0),
        ("~", None),
        ("on", True),
        ("Yes", True),
        ("off", False),
        ("NO", False),
        ("'010'", "010"),
        ("'yes'", "yes"),
        ("'2020-01-01'", "2020-01-01"),
        ("nan", "nan"),
        ("!!str 5", "5"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("4-light", "4-light"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_scalar_is_what_its_writer_means(text: str, meant: object) -> None:
    for found in (value(f"a: {text}"), value(f"{{a: {text}}}")):
        assert found == {"a": meant}
        assert type(found["a"]) is type(meant)  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("010", "without leading zeros"),
        ("-007", "without leading zeros"),
        ("08", "without leading zeros"),
        ("0o10", "understand differently"),
        ("1:30", "understand differently"),
        ("1:30:05.5", "understand differently"),
        ("1_", "understand differently"),
        ("2020-01-01", "the date 2020-01-01: put it in quotes"),
        ("2020-01-01 10:00:00", "the date"),
        (".nan", "finite numbers"),
        ("-.inf", "finite numbers"),
        ("1e999", "finite numbers"),
        ("9223372036854775808", "64 bits"),
        ("-9999999999999999999999", "64 bits"),
        ("9" * 5000, "64 bits"),
        ("!!python/object:os.system x", "the tag !!python/object"),
        ("!mine x", "the tag !mine"),
        ("!!int x", "no whole number"),
        ("!!set {x}", "the tag"),
        ('"\\0"', "U+0000"),
        ('"\\ud800"', "U+D800"),
        ("\x1b", "U+001B"),
        ('"\\U00110000"', "not YAML"),
        ("digits\t", "tabs"),
        ("di\tgits", "tabs"),
    ],
)
def test_a_scalar_that_readers_take_differently_is_refused_by_its_key(text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        value(f"first: 1\ninner:\n  rate: {text}\n")
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert re.match(r"mine\.yaml:[13]: ", message)
    assert len(message) < 250
    if "not YAML" not in says and "U+001B" not in says and "tabs" not in says:
        assert "it.inner.rate" in message


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: {b: 1, b: 2}", 1, "duplicate key 'b' in a"),
        ("a:\n  - x: 1\n    y: {z: 1,\n     z: 2}", 4, "duplicate key 'z' in a.y"),
        ('lr: 1\n"lr": 2', 2, "duplicate key 'lr'"),
        ("a: {1: x, 1: y}", 1, "duplicate key '1' in a"),
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", 2, "duplicate key '<<' in b"),
        ("a: {<<: 3}", 1, "'<<' in a takes a mapping"),
        ("a: &x [*x]", 1, "a contains itself"),
        ("a: &x {b: {c: *x}}", 1, "a.b.c contains itself"),
        ("? [a]\n: b", 1, "must be a word"),
        ("? \n: 2", 1, "a key is empty"),
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("a: 1\n---\nb: 2", 2, "a second document begins here"),
        ("a:\n\tb: 1", 2, "no tabs here"),
        ("a: [1,\n  *nope]", 2, "undefined alias 'nope'"),
        ("[" * 10_000, 1, "nested deeper than"),
        ("{a: " * 10_000, 1, "nested deeper than"),
        ("a: b: c", 1, "not YAML"),
        ("a: 'open", 1, "not YAML"),
        ("ok: 1\nbad: \x00", 2, "U+0000"),
        ("%YAML 9.0\n---\na: 1", 1, "not YAML"),
    ],
)
def test_a_file_that_is_no_sound_document_is_refused_in_one_sentence(
    text: str, line: int, says: str
) -> None:
    with pytest.raises(UserError) as caught:
        value(text)
    assert str(caught.value).startswith(f"mine.yaml:{line}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_that_stand_for_a_billion_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(UserError, match=r"mine\.yaml:\d+: a\d holds over 100000 values"):
        value("\n".join(lines))


def test_anchors_and_merge_keys_work_everywhere() -> None:
    found = value(
        "base: &base {lr: 0.1, momentum: 0.9}\n"
        "<<: {top: 1}\n"
        "own: {<<: *base, lr: 1}\n"
        "list: {<<: [{x: 1}, *base, {x: 2}]}\n"
        "nested: {<<: {<<: *base, deep: 1}}\n"
        "same: *base\n"
    )
    assert found == {
        "base": {"lr": 0.1, "momentum": 0.9},
        "top": 1,
        "own": {"lr": 1, "momentum": 0.9},
        "list": {"x": 1, "lr": 0.1, "momentum": 0.9},
        "nested": {"deep": 1, "lr": 0.1, "momentum": 0.9},
        "same": {"lr": 0.1, "momentum": 0.9},
    }


def test_keys_are_the_text_that_was_written() -> None:
    assert value("{1: a, yes: b, 0.50: c, 010: d}") == {
        "1": "a",
        "yes": "b",
        "0.50": "c",
        "010": "d",
    }


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a: 1\nb: \xe9t\xe9\n", r":2: cannot read the byte 0xe9: save the file as UTF-8"),
        ("a: é\n".encode("utf-16"), r":1: cannot read the byte 0x"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_its_line(
    tmp_path: Path, data: bytes, says: str
) -> None:
    (tmp_path / "s.yaml").write_bytes(data)
    with pytest.raises(UserError, match=says):
        read_text(tmp_path / "s.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert value(read_text(tmp_path / "s.yaml")) == {"name": "x"}
    assert value("\ufeffname: x\n") == {"name": "x"}


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_user_error(text: str) -> None:
    with contextlib.suppress(UserError):
        value(text)


def test_options_of_the_command_line_are_read_as_in_a_suite_file() -> None:
    assert read_options(["lr=1e-3", "every=1_000", "on=yes", "blocks=[3, 6]"]) == {
        "lr": 0.001, "every": 1000, "on": True, "blocks": [3, 6],
    }  # fmt: skip
    for text in ("every=010", "a={b: 1, b: 2}", "a=.nan", "a=[", "a="):
        with pytest.raises(UserError, match=r"cannot read the option .*--option "):
            read_options([text])
    with pytest.raises(UserError, match="duplicate --option every"):
        read_options(["every=1", "every=2"])
    with pytest.raises(UserError, match="cannot read the arch"):
        read_value("{name: a, name: b}", "arch")
