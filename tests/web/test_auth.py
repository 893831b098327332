from datetime import timedelta

import pytest

from storage.repositories import users
from tests.support.api_client import EMAIL, PASSWORD, START, Api
from web.administrators import ensure_administrator
from web.errors import Refusal
from web.login_throttle import WINDOW_S, LoginThrottle
from web.passwords import PasswordHasher, generate_password
from web.tokens import Session, TokenSigner


async def test_login_gives_a_token_that_opens_the_api(anonymous: Api) -> None:
    await anonymous.login()
    profile = await anonymous.get("auth/profile")
    assert profile == {"sub": 1, "username": EMAIL}


async def test_email_is_found_without_regard_to_case(anonymous: Api) -> None:
    await anonymous.login(email=f" {EMAIL.upper()} ")


@pytest.mark.parametrize(
    ("email", "password"), [(EMAIL, "wrong"), ("nobody@example.org", PASSWORD)]
)
async def test_wrong_password_and_unknown_user_are_answered_alike(
    anonymous: Api, email: str, password: str
) -> None:
    answer = await anonymous.call("POST", "auth/login", {"username": email, "password": password})
    assert answer.status == 401
    assert answer.json == {
        "statusCode": 401,
        "timestamp": "2026-01-02T03:04:05.000Z",
        "path": "/api/v1/auth/login",
    }


async def test_login_without_password_is_refused_without_echo(anonymous: Api) -> None:
    answer = await anonymous.call("POST", "auth/login", {"username": "someone-secret"})
    assert answer.status == 400
    assert b"someone-secret" not in answer.raw


async def test_guessing_is_stopped_for_the_guesser_only(anonymous: Api) -> None:
    wrong = {"username": EMAIL, "password": "wrong"}
    answers = [await anonymous.call("POST", "auth/login", wrong) for _ in range(6)]
    assert [answer.status for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    right = {"username": EMAIL, "password": PASSWORD}
    assert (await anonymous.call("POST", "auth/login", right)).status == 429


def test_guesses_of_one_address_do_not_lock_another_out() -> None:
    throttle = LoginThrottle(lambda: 0.0)
    for _ in range(5):
        throttle.attempt("10.0.0.1", "a")
    with pytest.raises(Refusal):
        throttle.attempt("10.0.0.1", "A ")
    throttle.attempt("10.0.0.2", "a")
    throttle.attempt("10.0.0.1", "b")


def test_guesser_may_try_again_when_the_window_is_over() -> None:
    now = 0.0
    throttle = LoginThrottle(lambda: now)
    for _ in range(5):
        throttle.attempt("10.0.0.1", "a")
    now = WINDOW_S
    throttle.attempt("10.0.0.1", "a")


def test_successes_do_not_count_against_an_address() -> None:
    throttle = LoginThrottle(lambda: 0.0)
    for n in range(200):
        throttle.attempt("10.0.0.1", f"user {n}")
        throttle.succeed("10.0.0.1", f"user {n}")


def test_one_address_cannot_go_through_all_names() -> None:
    throttle = LoginThrottle(lambda: 0.0)
    for n in range(50):
        throttle.attempt("10.0.0.1", f"user {n}")
    with pytest.raises(Refusal):
        throttle.attempt("10.0.0.1", "user 50")


async def test_token_ends_after_its_lifetime(api: Api) -> None:
    api.sign_in()
    api.clock.now = START + timedelta(seconds=3599)
    await api.get("auth/profile")
    api.clock.now = START + timedelta(seconds=3600)
    await api.get("auth/profile", 401)


async def test_new_password_ends_every_session(api: Api) -> None:
    from storage.repositories import Author

    author = Author(None, api.clock())
    await api.database.write(lambda change: users.update_password(change, 1, "hash", author))
    await api.get("organization", 401)


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"X-API-KEY": ""},
        {"X-API-KEY": "5002d70f-6499-44af-8546-9555004e1a1a"},
    ],
)
async def test_caller_without_good_credentials_is_not_let_in(
    anonymous: Api, credentials: dict[str, str]
) -> None:
    anonymous.headers = credentials
    answer = await anonymous.call("GET", "organization")
    assert answer.status == 401
    assert answer.json["statusCode"] == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_token_of_another_hub_is_refused(anonymous: Api) -> None:
    session = Session(user_id=1, username=EMAIL, credentials_version=1)
    token = TokenSigner("another key" * 4, 3600).issue(session, START)
    anonymous.headers["Authorization"] = f"Bearer {token}"
    await anonymous.get("organization", 401)


async def test_unsigned_token_is_refused(anonymous: Api) -> None:
    import jwt

    token = jwt.encode({"sub": "1", "username": EMAIL, "version": 1, "exp": 9999999999}, "", "none")
    anonymous.headers["Authorization"] = f"Bearer {token}"
    await anonymous.get("organization", 401)


async def test_me_shows_permissions_and_organizations_but_no_hash(api: Api) -> None:
    await api.organization()
    answer = await api.call("GET", "auth/me")
    assert answer.json["user"]["permissions"][0]["type"] == [{"type": "GlobalAdmin"}]
    assert len(answer.json["organizations"]) == 1
    assert b"argon2" not in answer.raw


async def test_second_start_makes_no_second_administrator(anonymous: Api) -> None:
    database = anonymous.database
    assert await ensure_administrator(database, "new@example.org", None, now=START) is None
    await anonymous.login()


async def test_hash_is_slow_and_salted() -> None:
    hasher = PasswordHasher()
    first, second = await hasher.hash("secret"), await hasher.hash("secret")
    assert first.startswith("$argon2id$")
    assert first != second
    assert await hasher.verify(first, "secret")
    assert not await hasher.verify(first, "Secret")
    assert not await hasher.verify(None, "secret")
    assert not await hasher.verify("no hash", "secret")


def test_generated_passwords_differ_and_fit_the_login() -> None:
    made = {generate_password() for _ in range(50)}
    assert len(made) == 50
    assert all(8 <= len(password) <= 50 for password in made)
