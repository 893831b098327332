"""What every adapter must do, run over every adapter that is discovered."""

import json
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.adapters import Adapter, Received, discover
from protocols.errors import InvalidPayload, NotFound
from tests.conformance.adapters import examples_of

ADAPTERS = sorted(discover().values(), key=lambda adapter: adapter.device_type)

attributes = st.dictionaries(
    st.sampled_from(["Content-Type", "Idempotency-Key"]) | st.text(max_size=10),
    st.text(max_size=20),
    max_size=3,
)


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.device_type)
def adapter_class(request: pytest.FixtureRequest) -> type[Adapter]:
    found: type[Adapter] = request.param
    return found


def assert_is_json_container(payload: bytes) -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    assert isinstance(json.loads(payload.decode(), parse_constant=refuse), dict | list)


def test_some_adapter_is_discovered() -> None:
    assert "GENERIC_HTTP" in discover()


def test_examples_are_taken_in_under_their_device_and_source_keys(
    adapter_class: type[Adapter],
) -> None:
    examples = examples_of(adapter_class)
    assert examples
    for example in examples:
        received = adapter_class().receive(example.address, example.attributes, example.body)
        assert (received.device_key, received.source_key) == (
            example.device_key,
            example.source_key,
        )
        assert_is_json_container(received.payload)


def test_same_input_gives_the_same_output(adapter_class: type[Adapter]) -> None:
    adapter = adapter_class()
    for example in examples_of(adapter_class):
        first, second = (
            adapter.receive(example.address, example.attributes, example.body) for _ in range(2)
        )
        assert first == second


@given(data=st.data())
def test_any_input_is_taken_in_as_json_or_refused_with_a_sentence(data: st.DataObject) -> None:
    adapter_class = data.draw(st.sampled_from(ADAPTERS))
    example = data.draw(st.sampled_from(list(examples_of(adapter_class))))
    address = data.draw(st.just(example.address) | st.text(max_size=60))
    given_attributes = data.draw(st.just(example.attributes) | attributes)
    body = data.draw(st.just(example.body) | st.binary(max_size=60))
    try:
        received: Received = adapter_class().receive(address, given_attributes, body)
    except (InvalidPayload, NotFound) as exc:
        assert str(exc).endswith(".")  # noqa: PT017 - either outcome is right, each has its rule
    else:
        assert_is_json_container(received.payload)
        assert received.device_key
