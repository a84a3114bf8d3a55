"""Colours on terminals, and nowhere else."""

import io

import pytest

from ssgan_tf.utils.progress import colored


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_gets_colours_that_end():
    assert colored("wrong", "red", Terminal()) == "\x1b[31mwrong\x1b[0m"
    assert colored("ok", "green", Terminal()) == "\x1b[32mok\x1b[0m"


def test_an_empty_variable_forbids_nothing(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert colored("wrong", "red", Terminal()) == "\x1b[31mwrong\x1b[0m"


def test_a_file_gets_the_text():
    assert colored("wrong", "red", io.StringIO()) == "wrong"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert colored("wrong", "red", Terminal()) == "wrong"
