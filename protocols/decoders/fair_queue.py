"""Jobs waiting for one worker, round robin over decoders."""

from collections import deque
from collections.abc import Callable, Sequence

from protocols.decoders.job import Job


class FairQueue:
    """Each decoder has its own line; a batch takes one job of each line in turn.

    However long one decoder's line is, another's first job waits for one of its jobs at most.
    """

    def __init__(self) -> None:
        self._lines: dict[int, deque[Job]] = {}
        self._turns: deque[int] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, job: Job) -> None:
        self._line_of(job).append(job)
        self._length += 1

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Jobs that were taken before, in order, return to their places before later ones."""
        for job in reversed(jobs):
            line = self._line_of(job)
            place = 0
            while place < len(line) and line[place].sequence < job.sequence:
                place += 1
            line.insert(place, job)
            self._length += 1

    def take(
        self, *, max_items: int, max_bytes: int, travels_alone: Callable[[Job], bool]
    ) -> list[Job]:
        """Returns the next batch, never empty unless the queue is.

        A job for which `travels_alone` holds is a batch of its own.
        """
        batch: list[Job] = []
        size_bytes = 0
        while self._turns and len(batch) < max_items:
            decoder_id = self._turns[0]
            line = self._lines[decoder_id]
            job = line[0]
            alone = travels_alone(job)
            size_bytes += len(job.request.payload) + len(job.request.metadata)
            if batch and (alone or size_bytes > max_bytes):
                break
            batch.append(line.popleft())
            self._turns.popleft()
            if line:
                self._turns.append(decoder_id)
            else:
                del self._lines[decoder_id]
            if alone:
                break
        self._length -= len(batch)
        return batch

    def discard(self, decoder_id: int, unwanted: Callable[[Job], bool]) -> list[Job]:
        """Takes out and returns one decoder's jobs for which `unwanted` holds."""
        line = self._lines.get(decoder_id)
        if line is None:
            return []
        out = [job for job in line if unwanted(job)]
        kept = deque(job for job in line if not unwanted(job))
        self._length -= len(out)
        if kept:
            self._lines[decoder_id] = kept
        else:
            del self._lines[decoder_id]
            self._turns.remove(decoder_id)
        return out

    def drain(self) -> list[Job]:
        """Takes out and returns everything."""
        jobs = [job for line in self._lines.values() for job in line]
        self._lines.clear()
        self._turns.clear()
        self._length = 0
        return jobs

    def _line_of(self, job: Job) -> deque[Job]:
        decoder_id = job.version_key[0]
        line = self._lines.get(decoder_id)
        if line is None:
            line = self._lines[decoder_id] = deque()
            self._turns.append(decoder_id)
        return line
