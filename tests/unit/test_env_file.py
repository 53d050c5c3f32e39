"""Secrets files are read as by python-dotenv, except that a dollar stays literal; written values are read back."""

from __future__ import annotations

from io import StringIO

import pytest
from dotenv import dotenv_values

from slipway.secrets import env_file

ODD = "a\"b'c`d$e f%g\\hä€ # ${X}\n\tof\ntwo lines\\"

# As people write them.
AS_PYTHON_DOTENV = {
    "an inline comment": "SMTP_PASSWORD=hunter22 # mailgun\n",
    "a hash that is none": "A=abc#def\nB=#fff\nC='a # b' # c\nD=\"a # b\"\n",
    "an empty value and a comment": "A=\nB= # nothing\nC=''\nD=\"\"\n",
    "export, spaces and blank lines": "\n\n  export A=1\nexport\tB = 2 \n C=3\n# D=4\n",
    "a comment without a space": "#A=1\n   #B=2\nC=3 #d\n",
    "double quotes": 'A="x y"\nB="\\n\\t\\\\ \\" \\$ \\x"\nC="it\'s"\n',
    "single quotes": "A='x y'\nB='\\n \\\\ \\' \\x'\nC='say \"x\"'\n",
    "several lines": 'A=\'-----BEGIN\nMIIE\n-----END\n\'\nB="1\n2"\nC="-----BEGIN\\nMIIE\\n-----END"\n',
    "a list in JSON": 'A=["https://a.example", "https://b.example"]\nB=\'["x"]\'\nC={"a": {"b": 1}}\n',
    "signs of a shell": "A=a$b$$c`d`\nB=p@ss:w/rd%&;|<>\nC=a=b=c\nD=a'b\"c\n",
    "the same name twice": "A=1\nA=2\n",
    "a byte order mark": "\ufeffA=1\nB=2\n",
    "lines that end as in Windows": "A=1\r\nB='x y'\r\n\r\nC=3 # c\r\n",
    "no line end": "A=1\nB=2",
    "other letters": "A=äö€😀\nB='ä'\nlower_case=x\n",
}


@pytest.mark.parametrize("what", AS_PYTHON_DOTENV)
def test_a_file_is_read_as_python_dotenv_reads_it(what):
    text = AS_PYTHON_DOTENV[what]
    found = env_file.parse(text)
    assert found == dotenv_values(stream=StringIO(text), interpolate=False)
    assert len(found) >= 1


def test_some_of_them_by_value():
    """In case python-dotenv changes."""
    text = "\n".join(AS_PYTHON_DOTENV[what] for what in ("an inline comment", "double quotes", "several lines"))
    found = env_file.parse(text)
    assert found["SMTP_PASSWORD"] == "hunter22"
    assert found["C"] == "-----BEGIN\nMIIE\n-----END"
    assert env_file.parse("A='x\r\ny'\r\n") == {"A": "x\ny"}
    assert env_file.parse("") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("X=1\nA=${X}/${X}", "1/1"),
        ('X=1\nA="${X}"', "1"),
        ("A=${X:-of none}", "of none"),
        ("X=1\nA=${X:-of none}", "1"),
        # What stays as it is.
        ("A=${HOME}", "${HOME}"),
        ("A=${A}", "${A}"),
        ("A=${X}\nX=1", "${X}"),
        ("X=1\nA='${X}'", "${X}"),
        ("X=1\nA=$X $$ ${} ${X Y} ${", "$X $$ ${} ${X Y} ${"),
    ],
)
def test_a_dollar_stands_for_a_line_above_or_for_itself(text, value, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("X", "of this machine")
    assert env_file.parse(text)["A"] == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nB='it's'", "found B (line 2) with a value that begins with ' and does not end with it"),
        ('\n\nexport B="recognisable', 'found B (line 3) with a value that begins with "'),
        ("B='recognisable' x", "found B (line 1)"),
        ("recognisable", "found line 1 without NAME="),
        ("A=-----BEGIN\nrecognisable+/\nrecognisable words\n", "found line 2 without NAME="),
    ],
)
def test_what_would_be_lost_is_reported_by_its_line_and_not_by_its_value(text, said):
    with pytest.raises(ValueError, match="expected") as caught:
        env_file.parse(text)
    assert str(caught.value).startswith(said)
    assert "recognisable" not in str(caught.value)


def test_all_wrong_lines_are_reported_at_once():
    with pytest.raises(ValueError, match="line 1") as caught:
        env_file.parse("x\nA=1\ny\n")
    assert len(str(caught.value).split("\n")) == 2


def test_values_that_end_before_a_comment_without_quotes_are_named():
    text = "A=1 # c\nB='1' # c\nC=1#c\nexport D=1\t#c\nE= # c\n#F=1 # c\nG=1\n"
    assert env_file.commented(text) == ["A", "D"]


VALUES = [
    *("simple", "two words", "", " ", "#x", "a # b", "it's", '"', "'", "\\", "x\\", "\\n", "a\nb", "-----\nx\n-----\n"),
    *(
        "$x ${X} ${x:-y}",
        "äö€😀",
        "\t",
        "a\r\nb",
        "\r",
        'a\r"b\\',
        ODD,
        "%n",
        "`x`",
        "=",
        "a=b",
        "{x}",
        "\u2028",
        "\x0b",
    ),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_line_is_read_back_as_it_was_meant(value):
    text = env_file.line("A", value)
    assert text.endswith("\n")
    assert env_file.parse(f"X=1\n{text}B=2\n") == {"X": "1", "A": value, "B": "2"}


def test_a_new_value_takes_the_place_of_the_old_one_and_all_else_stays():
    text = "# A=0\n\nA='x\ny' # c\n  export B=1\n"
    assert env_file.with_value(text, "A", "new") == "# A=0\n\nA=new\n  export B=1\n"
    assert env_file.with_value(text, "B", "new 1") == "# A=0\n\nA='x\ny' # c\n  export B='new 1'\n"
    assert env_file.with_value("A=1", "C", "2") == "A=1\nC=2\n"
    assert env_file.with_value("", "C", "2") == "C=2\n"
    for value in VALUES:
        assert env_file.parse(env_file.with_value(text, "A", value)) == {"A": value, "B": "1"}
