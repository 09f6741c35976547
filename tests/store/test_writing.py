"""Whatever stops a writer, what is finished stays, and the end is the same to the byte."""

import errno
import random
from pathlib import Path

import pytest

from store.conftest import content, dense, fill, make, manifest, output_of
from tutelage import files
from tutelage.errors import StoreError
from tutelage.signals import Signals
from tutelage.store import StoreWriter, close_store, journal, writer
from tutelage.store.journal import Journal, read_journals

FIELDS = [dense(), dense("layer1", "float16", (2, 2))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "store"
    make(folder, FIELDS, views=2)
    return content(folder)


@pytest.mark.parametrize("seed", range(5))
def test_in_any_order_by_any_number_of_processes(seed, whole, tmp_path):
    made, rng = manifest(FIELDS, views=2), random.Random(seed)
    blocks = list(range(made.layout.blocks))
    rng.shuffle(blocks)
    several = rng.randint(2, 5)
    for process in range(several):
        fill(tmp_path / "store", made, blocks[process::several], process)
    close_store(tmp_path / "store", made)
    assert content(tmp_path / "store") == whole


def test_processes_divide_the_remaining_blocks(tmp_path):
    made = manifest(FIELDS)
    fill(tmp_path, made, [2, 3])
    for several in range(1, 9):
        with StoreWriter(tmp_path, made) as one:
            parts = [one.pending(process, several) for process in range(several)]
        assert [block for part in parts for block in part] == [0, 1, 4, 5, 6]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("number", [1, 5, 12, 23, 36])
def test_a_full_disk_is_reported_and_finished_blocks_are_kept(number, whole, tmp_path, monkeypatch):
    """The n-th write of rows fails after half of its bytes."""
    made, count, real = manifest(FIELDS, views=2), [0], writer.write_at

    def write(file, offset, piece):
        count[0] += 1
        if count[0] == number + 2 * made.layout.shards:  # after the headers
            real(file, offset, piece[: len(piece) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, offset, piece)

    monkeypatch.setattr(writer, "write_at", write)
    with pytest.raises(StoreError, match="No space left on device; free space"):
        fill(tmp_path / "store", made)
    finished = read_journals(tmp_path / "store", 2, made.layout.blocks)
    assert len(finished) == (number - 1) // 4  # two pieces of two columns
    monkeypatch.undo()
    wrote = []
    monkeypatch.setattr(StoreWriter, "_encoded", spy(StoreWriter._encoded, wrote))
    fill(tmp_path / "store", made)
    assert len(wrote) == 2 * (made.layout.blocks - len(finished))  # nothing finished again
    close_store(tmp_path / "store", made)
    assert content(tmp_path / "store") == whole


def spy(real, calls):
    def called(self, *arguments):
        calls.append(arguments)
        return real(self, *arguments)

    return called


@pytest.mark.parametrize("step", ["flush", "write_at"])
def test_a_full_disk_at_the_journal(step, whole, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    made = manifest(FIELDS, views=2)
    monkeypatch.setattr(journal, step, full)
    with pytest.raises(StoreError, match="No space left"):
        fill(tmp_path / "store", made)
    monkeypatch.undo()
    fill(tmp_path / "store", made)
    close_store(tmp_path / "store", made)
    assert content(tmp_path / "store") == whole


def test_a_full_disk_at_the_end(whole, tmp_path, monkeypatch):
    made = manifest(FIELDS, views=2)
    fill(tmp_path / "store", made)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_at", full)
    with pytest.raises(StoreError, match=r"can be written, got .* No space left"):
        close_store(tmp_path / "store", made)
    monkeypatch.undo()
    close_store(tmp_path / "store", made)
    assert content(tmp_path / "store") == whole


def test_a_truncated_log_keeps_its_complete_lines(tmp_path):
    lines = Journal(tmp_path, 3)
    entries = {number: (number * 7, 2**32 - 1 - number) for number in (5, 0, 11)}
    for number, checksums in entries.items():
        lines.write({number: checksums})
    lines.close()
    text = (tmp_path / "journal.0003").read_bytes()
    ends = [position + 1 for position in range(len(text)) if text[position : position + 1] == b"\n"]
    for length in range(len(text) + 1):
        for tail in (b"", b" 00000000\n", b"1 2 3\n")[length % 3 :]:
            (tmp_path / "journal.0003").write_bytes(text[:length] + tail)
            kept = sum(end <= length for end in ends)
            found = read_journals(tmp_path, 2, 12)
            assert found == dict(list(entries.items())[:kept])
    again = Journal(tmp_path, 3)
    again.write({1: (1, 1)})  # what was torn is cut off first
    again.close()
    assert read_journals(tmp_path, 2, 12) == entries | {1: (1, 1)}


def test_log_lines_of_another_store_are_ignored(tmp_path):
    lines = Journal(tmp_path, 0)
    lines.write({1: (1, 1), 12: (2, 2), 3: (3, 3)})
    lines.close()
    assert set(read_journals(tmp_path, 2, 12)) == {1, 3}
    assert read_journals(tmp_path, 3, 12) == {}


def test_rows_are_flushed_before_they_are_logged(tmp_path, monkeypatch):
    made, order = manifest([dense()]), []
    monkeypatch.setattr(writer, "flush", lambda _: order.append("rows"))
    monkeypatch.setattr(journal, "flush", lambda _: order.append("journal"))
    fill(tmp_path / "store", made, [0])
    assert order[-2:] == ["rows", "journal"]


def test_headers_are_flushed_once_before_the_first_rows(tmp_path, monkeypatch):
    """Also those of files into which this process writes no rows."""
    made, flushed = manifest([dense()]), []
    made.write(tmp_path)
    monkeypatch.setattr(writer, "flush", lambda file: flushed.append(Path(file.name).name))
    monkeypatch.setattr(journal, "flush", lambda _: flushed.append("journal"))
    with StoreWriter(tmp_path, made) as one:
        assert flushed == [f"output.000{shard}.npy" for shard in range(3)]
        for block in (4, 0):
            one.write(block, [output_of(range(8), made.fields)])
            one.commit()
    assert flushed[3:] == ["output.0001.npy", "journal", "output.0000.npy", "journal"]


def test_blocks_are_logged_about_once_a_second(tmp_path, monkeypatch):
    made, lines = manifest([dense()]), []
    monkeypatch.setattr(Journal, "write", lambda _, finished: lines.append(list(finished)))
    times = iter([0.0, 0.4, 0.9, 1.5, 1.5, 1.9, 2.0, 2.1, 2.2, 2.3])
    monkeypatch.setattr(writer.time, "monotonic", lambda: next(times))
    fill(tmp_path / "store", made)
    assert lines == [[0, 1, 2], [3, 4, 5, 6]]


def test_an_incomplete_store_is_not_closed(tmp_path):
    made = manifest(FIELDS)
    fill(tmp_path, made, [0, 1, 6])
    with pytest.raises(StoreError, match=r"all 7 blocks of .* got 4 that are not"):
        close_store(tmp_path, made)


@pytest.mark.parametrize("count", [7, 9])
def test_a_wrong_number_of_rows_is_refused(count, tmp_path):
    made = manifest([dense()])
    made.write(tmp_path)
    with (
        StoreWriter(tmp_path, made) as one,
        pytest.raises(StoreError, match="block 0 must have 8 rows"),
    ):
        one.write(0, [output_of(range(count), made.fields)])
    assert read_journals(tmp_path, 1, 7) == {}


def test_a_batch_without_a_field_is_refused(tmp_path):
    made = manifest(FIELDS)
    made.write(tmp_path)
    with (
        StoreWriter(tmp_path, made) as one,
        pytest.raises(StoreError, match="must return 'layer1' for every batch"),
    ):
        one.write(0, [Signals(output_of(range(8), FIELDS).output)])


def test_a_read_only_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"can be written, got .*nowhere"):
        StoreWriter(tmp_path / "nowhere", manifest([dense()]))


def test_blocks_that_were_not_flushed_are_not_logged_later(tmp_path, monkeypatch):
    """After a failed flush a second one may succeed though the rows are lost."""
    made = manifest([dense()])
    made.write(tmp_path)
    failures = iter([OSError(5, "Input/output error")])

    def fail_once(_):
        for error in failures:
            raise error

    with StoreWriter(tmp_path, made) as one:
        one.write(0, [output_of(range(8), made.fields)])
        monkeypatch.setattr(writer, "flush", fail_once)
        with pytest.raises(StoreError, match="Input/output error"):
            one.commit()
    assert read_journals(tmp_path, 1, 7) == {}
