"""Secrets in the database and the key of this process: do they belong together?"""

import structlog

from protocols.errors import StorageError
from storage import open_database
from storage.database import Database
from storage.repositories import target_secrets
from storage.sealing import SecretBox
from web.administration import is_absent
from web.events import SECRETS_SEAL, SECRETS_UNREADABLE
from web.secret_key import read_secret_key
from web.settings import Settings

_log = structlog.get_logger(__name__)


async def seal_stored_secrets(database: Database, box: SecretBox) -> None:
    """Seal what earlier versions left in plain, and say so when the key is not the one of the rest.

    A hub with the wrong key starts all the same: it takes messages in and keeps them. The data
    targets whose secrets it cannot open wait, and each says why.
    """
    sealed = await database.write(lambda change: target_secrets.seal_stored(change, box))
    if sealed:
        _log.info(SECRETS_SEAL, count=sealed)
    _, unreadable = await database.read(lambda reader: target_secrets.count_unreadable(reader, box))
    if unreadable:
        _log.error(SECRETS_UNREADABLE, count=unreadable, reason=_advice(unreadable))


async def secrets_summary(settings: Settings) -> tuple[bool, str]:
    """Whether this process could read the secrets in the database, and a sentence about it.

    Neither a database nor a key is made by asking.
    """
    secret_key = settings.secret_key or read_secret_key(settings.data_dir)
    if secret_key is None:
        return True, "there is no secret key yet; the first start makes one."
    if is_absent(settings):
        return True, "nothing is sealed yet."
    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    try:
        await database.open()
    except StorageError:
        return True, "not looked at: the database cannot be used as it is."
    try:
        box = SecretBox(secret_key)
        count, unreadable = await database.read(
            lambda reader: target_secrets.count_unreadable(reader, box)
        )
    finally:
        await database.close()
    if unreadable:
        return False, _advice(unreadable)
    return True, f"the secrets of all data targets that have some ({count:,}) can be read."


def _advice(unreadable: int) -> str:
    return (
        f"the secrets of {unreadable:,} data targets were sealed with another key: give the hub the "
        "TINGBRO_SECRET_KEY that it had, or the file DATA_DIR/secret_key."
    )
