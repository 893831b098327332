import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import SecretsUnreadable
from storage.sealing import SecretBox, is_all_sealed, names_of

BOX = SecretBox("k" * 32)
OTHER = SecretBox("o" * 32)
HERE = "data_target.secrets/7"
SECRETS = {"password": "s3cr3t-æ", "signingKeys": [{"id": "k1", "secret": "whsec_s3cr3t"}]}

secrets = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(st.characters(codec="utf-8")) | st.lists(st.integers(-(2**31), 2**31)),
    max_size=4,
)


@given(secrets)
def test_what_is_sealed_is_opened_as_it_was(values: dict[str, object]) -> None:
    assert BOX.open(BOX.seal(values, place=HERE), place=HERE) == values


def test_nothing_but_the_names_is_seen_of_what_is_sealed() -> None:
    kept = BOX.seal(SECRETS, place=HERE)
    assert "s3cr3t" not in kept
    assert "s3cr3t" not in repr(BOX)
    assert names_of(kept) == SECRETS.keys()
    assert is_all_sealed(kept)


def test_same_secret_looks_different_every_time() -> None:
    assert BOX.seal(SECRETS, place=HERE) != BOX.seal(SECRETS, place=HERE)


def test_another_key_opens_nothing_and_says_what_to_do() -> None:
    with pytest.raises(SecretsUnreadable, match="TINGBRO_SECRET_KEY"):
        OTHER.open(BOX.seal(SECRETS, place=HERE), place=HERE)


def test_what_was_moved_to_another_target_is_not_opened() -> None:
    with pytest.raises(SecretsUnreadable):
        BOX.open(BOX.seal(SECRETS, place=HERE), place="data_target.secrets/8")


def test_what_was_moved_to_another_field_is_not_opened() -> None:
    kept = orjson.loads(BOX.seal({"password": "a", "authorizationHeader": "b"}, place=HERE))
    kept["password"], kept["authorizationHeader"] = kept["authorizationHeader"], kept["password"]
    with pytest.raises(SecretsUnreadable):
        BOX.open(orjson.dumps(kept).decode(), place=HERE)


def test_single_changed_bit_is_noticed() -> None:
    kept = orjson.loads(BOX.seal({"password": "s3cr3t"}, place=HERE))
    sealed = base64.b64decode(kept["password"][0])
    for place in range(1, len(sealed)):
        changed = bytes(byte ^ (index == place) for index, byte in enumerate(sealed))
        kept["password"] = [base64.b64encode(changed).decode()]
        with pytest.raises(SecretsUnreadable):
            BOX.open(orjson.dumps(kept).decode(), place=HERE)


def test_what_a_newer_version_sealed_is_told_from_a_wrong_key() -> None:
    kept = orjson.dumps({"password": [base64.b64encode(b"\x02" + bytes(40)).decode()]}).decode()
    with pytest.raises(SecretsUnreadable, match="newer version"):
        BOX.open(kept, place=HERE)


@pytest.mark.parametrize("broken", ["", "x", "AQ==", "AQAA", "AQAAAAAAAAAAAAAAAAAAAA=="])
def test_what_is_cut_short_is_unreadable_and_nothing_worse(broken: str) -> None:
    with pytest.raises(SecretsUnreadable):
        BOX.open(orjson.dumps({"password": [broken]}).decode(), place=HERE)


def test_plain_texts_of_earlier_versions_are_read_beside_sealed_ones() -> None:
    kept = orjson.loads(BOX.seal({"password": "new"}, place=HERE))
    mixed = orjson.dumps({**kept, "authorizationHeader": "[old]"}).decode()
    assert BOX.open(mixed, place=HERE) == {"password": "new", "authorizationHeader": "[old]"}
    assert not is_all_sealed(mixed)
