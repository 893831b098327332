import pytest

from protocols.errors import InvalidInput
from protocols.targets.policy import DeliveryPolicy, HeadOfLine, Ordering, parse_policy


def test_what_is_not_said_has_its_default() -> None:
    assert parse_policy({}) == DeliveryPolicy()
    assert parse_policy({"ordering": None, "maxInFlight": None}) == DeliveryPolicy()


def test_everything_that_is_said_is_read() -> None:
    policy = parse_policy(
        {
            "ordering": "strict",
            "headOfLinePolicy": "block",
            "headOfLineMaxSeconds": 60,
            "maxRatePerSecond": 0.5,
            "maxInFlight": 1,
        }
    )
    assert policy == DeliveryPolicy(
        ordering=Ordering.STRICT,
        head_of_line=HeadOfLine.BLOCK,
        head_of_line_max_s=60,
        max_rate_per_s=0.5,
        max_in_flight=1,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ordering", "sideways"),
        ("ordering", 1),
        ("headOfLinePolicy", ""),
        ("headOfLineMaxSeconds", 0),
        ("headOfLineMaxSeconds", True),
        ("headOfLineMaxSeconds", float("nan")),
        ("maxRatePerSecond", 0),
        ("maxRatePerSecond", "10"),
        ("maxInFlight", 0),
        ("maxInFlight", 1.5),
        ("maxInFlight", 101),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"`{name}`"):
        parse_policy({name: value})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"`ordering`.*`maxInFlight`"):
        parse_policy({"ordering": 1, "maxInFlight": 0})


def test_kind_that_insists_on_an_order_refuses_any_other() -> None:
    assert parse_policy({}, Ordering.STRICT).ordering is Ordering.STRICT
    assert parse_policy({"ordering": "strict"}, Ordering.STRICT).ordering is Ordering.STRICT
    with pytest.raises(InvalidInput, match="can only be strict"):
        parse_policy({"ordering": "none"}, Ordering.STRICT)


def test_kind_to_which_late_messages_do_harm_waits_for_its_head() -> None:
    assert parse_policy({}, Ordering.PER_DEVICE).head_of_line is HeadOfLine.BLOCK
    chosen = parse_policy({"headOfLinePolicy": "step_aside"}, Ordering.PER_DEVICE)
    assert chosen.head_of_line is HeadOfLine.STEP_ASIDE
