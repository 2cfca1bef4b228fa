"""A user that sends as many requests as the service answers: `python -m tests.faults.greedy_client PORT N`.

It reads the request from standard input, and repeats it on N concurrent connections, a new one for each request, until
SIGTERM. Then it prints the number of responses of each status as JSON.

It is a separate process, and does not use tests/wire.py: its responses have up to 150 MB, and to parse them in the
process that measures the other users would add to the measured times.
"""

import asyncio
import signal
import sys
from collections import Counter
from contextlib import suppress

import msgspec

PIECE = 1 << 18


async def repeat(port: int, request: bytes, statuses: Counter[int]) -> None:
    """Send the request until cancelled, each time on a new connection. Only the status of a response is parsed."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=PIECE)
        try:
            writer.write(request)
            head = await reader.read(PIECE)
            while await reader.read(PIECE):
                pass
            statuses[int(head.split(b" ", 2)[1])] += 1
        except (OSError, IndexError):
            statuses[0] += 1
        finally:
            writer.close()


async def main() -> None:
    """Read the command line and standard input, send, and print."""
    port, connections, request = int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer.read()
    statuses: Counter[int] = Counter()
    tasks = [asyncio.create_task(repeat(port, request, statuses)) for _ in range(connections)]
    sending = asyncio.gather(*tasks)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sending.cancel)
    with suppress(asyncio.CancelledError):
        await sending
    sys.stdout.buffer.write(msgspec.json.encode(statuses))


if __name__ == "__main__":
    asyncio.run(main())
