from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pytest_tipbench.errors import SourceFileError
from pytest_tipbench.records import Record
from pytest_tipbench.source_files import (
    Fault,
    Filled,
    NotEmpty,
    Slug,
    read_front_matter,
    read_toml,
    refuse,
    repeated,
)

DOCUMENT = """\
# a comment, then a blank line

title = "Bench"
scale = [
  1,
  # a comment inside
  5,
]
prose = '''
[[shelves]]
looks = "like a table, and is text"
'''

[[shelves]]
id = "upper"
size.width = 80
size.depth = 30

[[shelves.books]]
title = "First"

[[shelves.books]]
title = "Second"
tags = ["a", "b"]

[[shelves]]
id = "lower"
books = [
  { title = "Third", pages = 3 },

  { title = "Fourth" },
]

[owner]
name = "Zoë"

[owner."home address"]
street = "Łódzka"
"""


class _Book(Record):
    title: Filled
    pages: int | None = Field(default=None, gt=0)
    state: Literal["new", "old"] | None = None


class _Shelf(Record):
    id: Slug
    books: Annotated[tuple[_Book, ...], NotEmpty]


class _Library(Record):
    name: Filled
    fee: float = 1.0
    open: str = ""
    opened_in: int | None = None
    scores: dict[str, int] = Field(default_factory=dict)
    shelves: Annotated[tuple[_Shelf, ...], NotEmpty]


def _written(folder: Path, content: str | bytes, name: str = "file.toml") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _library(folder: Path, content: str) -> _Library:
    return read_toml(_written(folder, content)).read_as(_Library)


def _faults(folder: Path, content: str) -> list[str]:
    """Return the message's lines, without the path before each."""
    with pytest.raises(SourceFileError) as caught:
        _library(folder, content)
    return str(caught.value).replace(f"{folder / 'file.toml'}:", "").split("\n")


class TestReadToml:
    def test_reads_utf_8(self, tmp_path: Path) -> None:
        source = read_toml(_written(tmp_path, 'name = "美咲"\n'))
        assert source.data == {"name": "美咲"}

    def test_a_byte_order_mark_and_windows_line_ends_change_nothing(self, tmp_path: Path) -> None:
        plain = read_toml(_written(tmp_path, 'a = """x\ny"""\nb = 2\n'))
        windows = read_toml(_written(tmp_path, b'\xef\xbb\xbfa = """x\r\ny"""\r\nb = 2\r\n'))
        assert windows.data == plain.data == {"a": "x\ny", "b": 2}
        assert windows.line_of("b") == plain.line_of("b") == 3

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match="no such file") as caught:
            read_toml(tmp_path / "absent.toml")
        assert caught.value.path == tmp_path / "absent.toml"
        assert caught.value.line is None

    def test_a_file_in_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match="no such file"):
            read_toml(tmp_path / "absent" / "file.toml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match="cannot be read: it is a folder"):
            read_toml(tmp_path)

    def test_another_encoding_is_refused_with_its_line(self, tmp_path: Path) -> None:
        path = _written(tmp_path, b'a = 1\nname = "Zo\xeb"\n')
        with pytest.raises(SourceFileError, match="expected UTF-8, found byte 0xeb") as caught:
            read_toml(path)
        assert caught.value.line == 2

    def test_after_a_byte_order_mark_the_wrong_byte_is_still_named(self, tmp_path: Path) -> None:
        path = _written(tmp_path, b"\xef\xbb\xbfa\xff = 1\n")
        with pytest.raises(SourceFileError, match="0xff"):
            read_toml(path)

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            ("a = 1\nb == 2\n", 2),
            ('a = 1\n\nb = "open\nc = 3\n', 3),
            ("a = 1\na = 2\n", 2),
            ("a = 1\nb = '''never closed\n\n\n", 2),
            ("[table\n", 1),
        ],
    )
    def test_a_syntax_error_names_its_line(self, tmp_path: Path, content: str, line: int) -> None:
        with pytest.raises(SourceFileError, match="not TOML: ") as caught:
            read_toml(_written(tmp_path, content))
        assert caught.value.line == line
        assert "(at " not in str(caught.value)


class TestFrontMatter:
    def test_head_and_body(self, tmp_path: Path) -> None:
        path = _written(tmp_path, "+++\na = 1\n+++\n\n\nFirst.\n\n+++\nLast.  \n\n")
        source, body = read_front_matter(path)
        assert source.data == {"a": 1}
        assert body.text == "First.\n\n+++\nLast."
        assert body.first_line == 6

    def test_lines_count_from_the_top_of_the_file(self, tmp_path: Path) -> None:
        source, _ = read_front_matter(_written(tmp_path, "+++\na = 1\n\nb = 2\n+++\n"))
        assert source.line_of("b") == 4

    def test_fences_may_have_space_after_them_and_windows_line_ends(self, tmp_path: Path) -> None:
        path = _written(tmp_path, b"\xef\xbb\xbf+++ \r\na = 1\r\n+++\t\r\nText\r\n")
        source, body = read_front_matter(path)
        assert source.data == {"a": 1}
        assert body == ("Text", 4)

    def test_an_empty_body(self, tmp_path: Path) -> None:
        for ending in ("", "\n", "\n\n  \n"):
            _, body = read_front_matter(_written(tmp_path, "+++\n+++" + ending))
            assert body.text == ""

    @pytest.mark.parametrize(
        "content", ["", "# Title\n", "\n+++\na = 1\n+++\n", "---\na: 1\n---\n"]
    )
    def test_no_front_matter(self, tmp_path: Path, content: str) -> None:
        with pytest.raises(SourceFileError, match=r"opened by a line '\+\+\+'") as caught:
            read_front_matter(_written(tmp_path, content))
        assert caught.value.line == 1

    def test_front_matter_that_never_ends(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match=r"second line '\+\+\+'"):
            read_front_matter(_written(tmp_path, "+++\na = 1\n\nText\n"))

    def test_a_syntax_error_names_the_line_of_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match="not TOML") as caught:
            read_front_matter(_written(tmp_path, "+++\na = 1\nb =\n+++\nText\n"))
        assert caught.value.line == 3


class TestLineOf:
    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            ((), 1),
            (("title",), 3),
            (("scale",), 4),
            (("scale", 0), 5),
            (("scale", 1), 7),
            (("prose",), 9),
            (("shelves",), 14),
            (("shelves", 0), 14),
            (("shelves", 0, "id"), 15),
            (("shelves", 0, "size"), 16),
            (("shelves", 0, "size", "depth"), 17),
            (("shelves", 0, "books"), 19),
            (("shelves", 0, "books", 0, "title"), 20),
            (("shelves", 0, "books", 1), 22),
            (("shelves", 0, "books", 1, "title"), 23),
            (("shelves", 0, "books", 1, "tags", 1), 24),
            (("shelves", 1), 26),
            (("shelves", 1, "id"), 27),
            (("shelves", 1, "books"), 28),
            (("shelves", 1, "books", 0, "pages"), 29),
            (("shelves", 1, "books", 1, "title"), 31),
            (("owner",), 34),
            (("owner", "name"), 35),
            (("owner", "home address"), 37),
            (("owner", "home address", "street"), 38),
        ],
    )
    def test_every_kind_of_statement(
        self, tmp_path: Path, keys: tuple[str | int, ...], line: int
    ) -> None:
        assert read_toml(_written(tmp_path, DOCUMENT)).line_of(*keys) == line

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            (("absent",), 1),
            (("shelves", 0, "books", 1, "pages"), 22),
            (("shelves", 1, "books", 1, "pages"), 31),
            (("shelves", 7, "id"), 14),
            (("title", "deeper"), 3),
        ],
    )
    def test_what_is_not_there_stands_where_it_would_belong(
        self, tmp_path: Path, keys: tuple[str | int, ...], line: int
    ) -> None:
        assert read_toml(_written(tmp_path, DOCUMENT)).line_of(*keys) == line

    def test_a_table_inside_an_entry_of_an_array_of_tables(self, tmp_path: Path) -> None:
        content = "[[a]]\n[a.b]\nx = 1\n[[a]]\n[a.b]\nx = 2\n[[a.b.c]]\ny = 3\n"
        source = read_toml(_written(tmp_path, content))
        assert source.line_of("a", 0, "b", "x") == 3
        assert source.line_of("a", 1, "b", "x") == 6
        assert source.line_of("a", 1, "b", "c", 0, "y") == 8


class TestReadAs:
    def test_a_sound_document(self, tmp_path: Path) -> None:
        library = _library(
            tmp_path,
            'name = " Town \\n"\nfee = 2\nopen = 09:30:00\n'
            '[[shelves]]\nid = "a-1"\n[[shelves.books]]\ntitle = "B"\n',
        )
        assert library.name == "Town"
        assert library.fee == 2.0
        assert library.open == "09:30:00"
        assert library.shelves == (_Shelf(id="a-1", books=(_Book(title="B"),)),)

    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            ('pages = "3"', "6: 'pages' should be a valid integer, got \"3\""),
            ("pages = true", "6: 'pages' should be a valid integer, got true"),
            ("pages = 3.0", "6: 'pages' should be a valid integer, got 3.0"),
            ("pages = 0", "6: 'pages' should be greater than 0, got 0"),
            ('state = "worn"', "6: 'state' should be 'new' or 'old', got \"worn\""),
            ("titel = 3", "6: unknown key 'titel' (did you mean title"),
        ],
    )
    def test_a_wrong_value(self, tmp_path: Path, statement: str, expected: str) -> None:
        content = (
            'name = "Town"\n[[shelves]]\nid = "a"\n[[shelves.books]]\ntitle = "B"\n' + statement
        )
        (fault,) = _faults(tmp_path, content)
        assert fault.startswith(expected)

    def test_every_fault_is_listed_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        content = (
            'naem = "Town"\nfee = inf\n[[shelves]]\nid = "Upper Shelf"\n'
            '[[shelves.books]]\ntitle = "  "\n'
        )
        first, *others = _faults(tmp_path, content)
        assert sorted([first, others[0]]) == [
            "1: key 'name' is missing",
            "1: unknown key 'naem' (did you mean name?)",
        ]
        assert others[1:] == [
            "2: 'fee' should be a finite number, got Infinity",
            "4: 'id' should be lower-case ASCII letters, digits and '-' only",
            "6: 'title' should not be empty",
        ]

    def test_the_error_carries_the_first_line(self, tmp_path: Path) -> None:
        path = _written(tmp_path, 'name = "Town"\nfee = "x"\nshelves = []\n')
        with pytest.raises(SourceFileError) as caught:
            read_toml(path).read_as(_Library)
        assert caught.value.line == 2
        assert str(caught.value).startswith(f"{path}:2: 'fee' should be a valid number")

    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            ("shelves = []", "2: 'shelves' should have at least one entry"),
            ("[shelves]", "2: 'shelves' should be a valid array, got a table"),
            ("shelves = [3]", "2: 'shelves' should be a table, got 3"),
            ("[[shelves]]\nbooks = []", "2: key 'id' is missing in [shelves]"),
            ("[[shelf]]", "2: unknown key 'shelf' (did you mean shelves?)"),
        ],
    )
    def test_a_wrong_shape(self, tmp_path: Path, statement: str, expected: str) -> None:
        assert expected in _faults(tmp_path, 'name = "Town"\n' + statement)

    def test_a_key_of_a_free_table(self, tmp_path: Path) -> None:
        faults = _faults(tmp_path, 'name = "T"\nscores = { a = 1, b = "x" }\nshelves = []\n')
        assert "2: 'b' should be a valid integer, got \"x\"" in faults

    def test_a_long_value_is_shortened(self, tmp_path: Path) -> None:
        faults = _faults(tmp_path, f'name = "T"\nfee = "{"x" * 500}"\nshelves = []\n')
        assert max(map(len, faults)) < 150


def test_refuse_puts_the_place_before_each_fault() -> None:
    with pytest.raises(SourceFileError) as caught:
        refuse(Path("f.toml"), [Fault(9, "late"), Fault(2, "early")])
    assert str(caught.value) == "f.toml:2: early\nf.toml:9: late"
    assert caught.value.line == 2


def test_repeated_names_the_first_use() -> None:
    assert list(repeated(["a", "b", "a", "c", "a", "b"])) == [(2, 0), (4, 0), (5, 1)]
