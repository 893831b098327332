"""The secrets in a database and the key of the process that opens it."""

from pathlib import Path

import orjson
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from storage import Database
from storage.database import Transaction
from storage.repositories import target_secrets
from storage.sealing import SecretBox
from storage.tables.entities import data_target
from tests.support.api_client import SECRET_KEY, Api, running_api
from web.check import Verdict, check
from web.events import SECRETS_SEAL, SECRETS_UNREADABLE
from web.secret_sealing import seal_stored_secrets
from web.settings import Settings, read_settings

OTHER_KEY = "another key, long enough for a hub"


def settings_of(directory: Path, secret_key: str | None = None) -> Settings:
    variables = {
        "TINGBRO_DATA_DIR": str(directory),
        "TINGBRO_DATABASE_URL": f"sqlite:///{directory / 'api.db'}",
        "TINGBRO_HTTP_HOST": "127.0.0.1",
    }
    return read_settings(variables | ({"TINGBRO_SECRET_KEY": secret_key} if secret_key else {}))


def finding_of(settings: Settings) -> tuple[Verdict, str]:
    (finding,) = [found for found in check(settings) if found.subject == "secrets"]
    return finding.verdict, finding.sentence


async def make_target(api: Api) -> int:
    api.sign_in()
    application = await api.application(await api.organization())
    made = await api.target(application, authorizationHeader="Bearer s3cr3t")
    return int(made["id"])


@pytest.fixture
async def database(tmp_path: Path) -> Database:
    """A database with one target that has secrets; closed."""
    async with running_api(tmp_path) as api:
        await make_target(api)
        return api.database


def test_check_finds_the_right_key(tmp_path: Path, database: Database) -> None:
    assert finding_of(settings_of(tmp_path, SECRET_KEY))[0] is Verdict.GOOD


def test_check_finds_a_key_that_does_not_open_what_is_sealed(
    tmp_path: Path, database: Database
) -> None:
    verdict, sentence = finding_of(settings_of(tmp_path, OTHER_KEY))
    assert verdict is Verdict.MISSING
    assert sentence.startswith("the secrets of 1 data targets were sealed with another key")


def test_check_makes_no_key_where_there_is_none(tmp_path: Path, database: Database) -> None:
    assert finding_of(settings_of(tmp_path))[0] is Verdict.GOOD
    assert not (tmp_path / "secret_key").exists()


def test_check_names_a_key_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("short")
    verdict, sentence = finding_of(settings_of(tmp_path))
    assert (verdict, "too short" in sentence) == (Verdict.MISSING, True)


async def test_start_seals_what_earlier_versions_left_and_says_so(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        target_id = await make_target(api)
        plain = orjson.dumps({"authorizationHeader": "Bearer old"}).decode()

        def unseal(transaction: Transaction) -> None:
            transaction.execute(data_target.update().values(secrets=plain))

        await api.database.write(unseal)
        box = SecretBox(SECRET_KEY)
        with capture_logs() as lines:
            await seal_stored_secrets(api.database, box)
            await seal_stored_secrets(api.database, box)
        assert [(line["event"], line["count"]) for line in lines] == [(SECRETS_SEAL, 1)]
        row = await api.database.read(lambda reader: reader.fetch_one(select(data_target)))
        assert row is not None
        assert "old" not in row.secrets
        secrets = await api.database.read(lambda reader: target_secrets.get(reader, box, target_id))
        assert secrets == {"authorizationHeader": "Bearer old"}


async def test_start_with_another_key_says_so_and_goes_on(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        await make_target(api)
        with capture_logs() as lines:
            await seal_stored_secrets(api.database, SecretBox(OTHER_KEY))
    (line,) = lines
    assert (line["event"], line["log_level"]) == (SECRETS_UNREADABLE, "error")
    assert "TINGBRO_SECRET_KEY" in line["reason"]
