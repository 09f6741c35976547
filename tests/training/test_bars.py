"""What the bar shows on a terminal, and that it shows nothing elsewhere."""

import io

import pytest
from rich.console import Console

from tutelage.training.notices import progress_bar


def test_it_shows_what_is_done_and_a_text():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress_bar(True, 1000, console) as show:
        show(700, "epoch 2  loss 0.1235")
    text = console.file.getvalue()
    assert "700/1000" in text
    assert "epoch 2  loss 0.1235" in text


@pytest.mark.parametrize(("shown", "is_terminal"), [(False, True), (True, False)])
def test_silence(shown, is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with progress_bar(shown, 10, console) as show:
        show(10, "done")
    assert console.file.getvalue() == ""
