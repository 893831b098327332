"""What a decoder has failed on and not been given again, as its owner sees it."""

from dataclasses import dataclass

from sqlalchemy import func, select

from storage.database import Reader
from storage.tables.pipeline import is_failed, message_job


@dataclass(frozen=True, slots=True)
class DecodeFailures:
    """How many messages wait to be decoded again, and the error of the newest of them."""

    count: int
    last_error: str | None
    last_error_at: int | None


def of_decoder(reader: Reader, decoder_id: int) -> DecodeFailures:
    wanted = (message_job.c.decoder_id == decoder_id, is_failed)
    newest = reader.fetch_one(
        select(message_job.c.error, message_job.c.settled_at)
        .where(*wanted)
        .order_by(message_job.c.message_id.desc())
        .limit(1)
    )
    if newest is None:
        return DecodeFailures(0, None, None)
    total = reader.fetch_one(select(func.count().label("total")).where(*wanted))
    return DecodeFailures(total.total if total else 0, newest.error, newest.settled_at)
