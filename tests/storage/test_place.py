import pytest

from storage.place import place_of


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:///data/tingbro.db", "data/tingbro.db"),
        ("sqlite:////srv/a%20hub.db", "/srv/a hub.db"),
        ("postgresql://db.example.org/hub", "PostgreSQL database hub at db.example.org"),
        ("postgresql://hub:hunter2@db:5432/hub", "PostgreSQL database hub at db:5432"),
        ("postgresql://hub:hunt@er2@db/hub?sslmode=require", "PostgreSQL database hub at db"),
        ("postgresql://a:1,b:2/hub", "PostgreSQL database hub at a:1,b:2"),
        (
            "postgresql:///hub?host=/run/postgresql&password=hunter2",
            "PostgreSQL database hub at the local server",
        ),
        ("postgresql://db", "PostgreSQL database of its user at db"),
    ],
)
def test_place_of_a_database_is_named_without_its_secrets(url: str, place: str) -> None:
    assert place_of(url) == place
