"""Log lines of one round of the event loop go out together."""

import asyncio
import io
import logging
import threading

import pytest

from serving.observation.lines import GatheredLines


class Writes(io.StringIO):
    """A stream that keeps every write."""

    def __init__(self):
        super().__init__()
        self.each = []

    def write(self, text):
        if text:
            self.each.append(text)
        return len(text)


@pytest.fixture
def logged():
    stream = Writes()
    logger = logging.Logger("lines")
    logger.addHandler(GatheredLines(stream))
    return logger, stream


def test_without_an_event_loop_every_line_is_written_at_once(logged):
    logger, stream = logged
    logger.info("one")
    assert stream.each == ["one\n"]
    logger.info("two")
    assert stream.each == ["one\n", "two\n"]


def test_lines_of_a_round_are_one_write_once_it_is_over(logged):
    logger, stream = logged

    async def rounds():
        logger.info("one")
        logger.info("two")
        before = list(stream.each)
        await asyncio.sleep(0)
        first = list(stream.each)
        logger.info("three")
        await asyncio.sleep(0)
        return before, first

    assert asyncio.run(rounds()) == ([], ["one\ntwo\n"])
    assert stream.each == ["one\ntwo\n", "three\n"]


def test_another_thread_writes_what_waits_before_its_own_line(logged):
    logger, stream = logged

    async def both():
        logger.info("one")
        other = threading.Thread(target=logger.info, args=("two",))
        other.start()
        other.join()
        return list(stream.each)

    assert asyncio.run(both()) == ["one\ntwo\n"]


def test_a_loop_that_ends_first_leaves_its_lines_to_the_last_flush(logged):
    logger, stream = logged

    async def leave():
        logger.info("one")

    loop = asyncio.new_event_loop()
    task = loop.create_task(leave())
    task.add_done_callback(lambda _: loop.stop())
    loop.run_forever()
    loop.close()
    logger.handlers[0].flush()
    assert stream.each == ["one\n"]


def test_a_stream_that_is_closed_raises_nothing(logged, capsys):
    logger, stream = logged
    stream.write = io.StringIO.write.__get__(stream)
    stream.close()
    logger.info("one")
    assert capsys.readouterr().err == ""


def test_a_record_that_cannot_be_written_down_is_reported_and_the_next_is_written(logged, capsys):
    logger, stream = logged
    logger.info("%d", "no number")
    logger.info("two")
    assert stream.each == ["two\n"]
    assert "no number" in capsys.readouterr().err
