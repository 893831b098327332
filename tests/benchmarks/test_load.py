import asyncio
import math
import os
import subprocess
import sys
import time

from benchmarks.load import Plan, generate
from benchmarks.percentiles import median_ratio, percentile
from benchmarks.receiver import ReceiverProcess
from tests.support.process_tree import cpu_seconds, family, leaves, memory_bytes

BODY = '{"sent_us":{sent_us},"text":"ø"}'


def port_of(receiver: ReceiverProcess) -> int:
    return int(receiver.url.rpartition(":")[2])


async def _request(reader: asyncio.StreamReader) -> bytes:
    """What came next, or nothing when the generator has hung up, as it does without ceremony."""
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


async def test_every_post_of_a_closed_loop_is_counted_by_the_receiver() -> None:
    with ReceiverProcess() as receiver:
        plan = Plan(port=port_of(receiver), posts=[("/a", BODY), ("/b", BODY)], count=1_000)
        report = await generate(plan)
        assert (report.posted, report.acked, report.refused) == (1_000, 1_000, 0)
        first, second = await receiver.report("/a"), await receiver.report("/b")
        assert (first.pushes, second.pushes) == (500, 500)


async def test_open_loop_posts_as_much_as_is_due_and_no_faster() -> None:
    with ReceiverProcess() as receiver:
        plan = Plan(port=port_of(receiver), posts=[("/a", BODY)], rate_per_s=200, duration_s=0.5)
        report = await generate(plan)
        assert report.acked == 100
        assert report.duration_s > 0.45


async def test_open_loop_counts_the_wait_for_a_slow_answer() -> None:
    async def answer_after_a_while(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while await _request(reader):
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_after_a_while, "127.0.0.1", 0)
    async with server:
        plan = Plan(
            port=server.sockets[0].getsockname()[1],
            posts=[("/a", BODY)],
            connections=1,
            rate_per_s=100,
            duration_s=0.2,
        )
        report = await generate(plan)
    # The last of twenty was due after 0.2 s and answered after twenty times 0.05 s.
    assert report.acked == 20
    assert report.max_ms > 700


async def test_refusals_are_not_counted_as_acknowledged() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _request(reader):
            writer.write(b"HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        report = await generate(Plan(port=port, posts=[("/a", BODY)], connections=2, count=10))
    assert (report.acked, report.refused) == (0, 10)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(101)]
    assert (percentile(values, 50), percentile(values, 99)) == (50, 99)
    assert math.isnan(percentile([], 99))


def test_ratio_of_pairs_is_not_moved_by_one_outlier() -> None:
    assert median_ratio([1.0, 1.1, 50.0], [1.0, 1.0, 1.0]) == 1.1


async def test_processor_time_of_a_family_counts_its_children() -> None:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "while :; do :; done", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.pid in leaves(os.getpid())
        assert process.pid in family(os.getpid())
        assert memory_bytes(process.pid) > 0
        started_s = cpu_seconds(process.pid)
        deadline_s = time.monotonic() + 10
        while cpu_seconds(process.pid) < started_s + 0.1:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)
        assert cpu_seconds(os.getpid()) >= cpu_seconds(process.pid)
    finally:
        process.kill()
        await process.wait()


def test_processor_time_of_a_child_that_has_ended_still_counts() -> None:
    before_s = cpu_seconds(os.getpid())
    child = subprocess.run(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=False
    )
    assert child.returncode == 0
    assert cpu_seconds(os.getpid()) >= before_s + 0.28
