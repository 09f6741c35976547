"""What the bar shows on a terminal, and that it shows nothing elsewhere."""

import io

import pytest
from rich.console import Console

from tutelage.training import notices


def console(monkeypatch, is_terminal):
    found = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    monkeypatch.setattr(notices, "Console", lambda **_: found)
    return found.file


def test_it_shows_what_is_done_and_a_text(monkeypatch):
    file = console(monkeypatch, True)
    with notices.progress_bar(True, 1000) as show:
        show(700, "epoch 2  loss 0.1235")
    text = file.getvalue()
    assert "700/1000" in text
    assert "epoch 2  loss 0.1235" in text


@pytest.mark.parametrize(("shown", "is_terminal"), [(False, True), (True, False)])
def test_silence(shown, is_terminal, monkeypatch):
    file = console(monkeypatch, is_terminal)
    with notices.progress_bar(shown, 10) as show:
        show(10, "done")
    assert file.getvalue() == ""
