"""What bars show on a terminal, and that they show nothing elsewhere."""

import io

import pytest
from rich.console import Console

from tutelage.training.progress import LabellingBar, TrainingBar


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def test_labelling_shows_rows_rate_and_time_left():
    console = terminal()
    with LabellingBar(True, 1000, console) as meter:
        meter.begin(300, 2)  # 400 are there already
        meter._last = 0.0
        meter.add(150)
        assert meter.rate() > 0
    text = console.file.getvalue()
    assert "700/1000" in text
    assert "examples/s" in text


def test_training_shows_the_epoch_and_its_losses():
    console = terminal()
    with TrainingBar(True, 4, console) as bar:
        bar.show_epoch(1.5, {"loss": 0.12345})
        bar.show_epoch(3.5, {"loss": 0.1})  # just after, so that it waits
    text = console.file.getvalue()
    assert "epoch 2/4" in text
    assert "loss 0.1235" in text
    assert "epoch 4/4" not in text


@pytest.mark.parametrize(("shown", "is_terminal"), [(False, True), (True, False)])
def test_silence(shown, is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with LabellingBar(shown, 10, console) as meter:
        meter.begin(10, 1)
        meter.add(10)
    with TrainingBar(shown, 4, console) as bar:
        bar.show_epoch(2.0, {"loss": 1.0})
    assert console.file.getvalue() == ""


def fail_within(meter):
    with meter:
        meter.begin(10, 1)
        raise KeyboardInterrupt


def test_an_error_leaves_the_bar_where_it_was():
    console = terminal()
    with pytest.raises(KeyboardInterrupt):
        fail_within(LabellingBar(True, 10, console))
    assert "0/10" in console.file.getvalue()
    assert "10/10" not in console.file.getvalue()
