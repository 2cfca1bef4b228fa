"""The output of log lines: it counts the lines that it drops, and a stalled reader does not block it."""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.observability.log import FLUSH_SECONDS, Output
from tests.serving import until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe: the reader of the log, and the descriptor to which the log is written."""
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            os.close(end)


def test_output_drops_and_counts_lines_that_do_not_fit(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer, capacity=1000)
    written = seen = reported = 0
    while output.dropped < 10:
        output.put({"number": written, "padding": "x" * 64})
        written += 1
    with os.fdopen(reader, closefd=False) as lines:
        while reported < output.dropped:
            line = json.loads(lines.readline())
            if "number" in line:
                seen += 1
            else:
                assert line["message"].endswith(" log lines were dropped: standard output was not read")
                reported += int(line["message"].split()[0])
        assert seen + reported == written
        output.flush()
        output.put({"number": "kept"})
        assert json.loads(lines.readline())["number"] == "kept"
    output.close()


def test_output_continues_when_its_reader_is_back(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer, flush_seconds=0)
    os.close(reader)
    output.put({"number": "lost"})
    until(lambda: output.dropped == 1)
    reader, another = os.pipe()
    os.dup2(another, writer)
    os.close(another)
    with os.fdopen(reader) as lines:
        output.put({"number": "kept"})
        assert json.loads(lines.readline())["number"] == "kept"
        assert json.loads(lines.readline())["message"].startswith("1 log lines were dropped")
    output.close()


def test_output_does_not_wake_up_while_there_are_no_lines(pipe: tuple[int, int]) -> None:
    others = set(threading.enumerate())
    output = Output(pipe[1])
    (thread,) = set(threading.enumerate()) - others

    def wake_ups() -> list[str]:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        return re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)

    time.sleep(FLUSH_SECONDS)  # until the thread is blocked
    before = wake_ups()
    time.sleep(4 * FLUSH_SECONDS)
    assert wake_ups() == before
    output.close()


def test_output_flush_writes_the_lines_that_wait(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    output.put({"number": 1})
    output.flush()
    assert os.read(reader, 100) == b'{"number":1}\n'
    output.close()


def test_output_flush_does_not_wait_when_it_is_closed(pipe: tuple[int, int]) -> None:
    _, writer = pipe
    output = Output(writer)
    output.close()
    until(lambda: output._queue.empty())
    flush = threading.Thread(target=output.flush, args=(3600,), daemon=True)
    flush.start()
    flush.join(10)
    assert not flush.is_alive()


def test_output_flush_gives_up_once_on_a_reader_that_stalls(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    output.put({"number": "1" * 1_000_000})  # more than the buffer of a pipe
    output.flush(timeout=0.1)
    started = time.monotonic()
    output.flush(timeout=3600)
    output.close()
    assert time.monotonic() - started < 60
    os.close(reader)  # ends the thread
