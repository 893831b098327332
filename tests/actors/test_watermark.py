from hypothesis import given
from hypothesis import strategies as st

from actors.watermark import Watermark


def test_cursor_stands_before_the_oldest_position_that_is_not_settled() -> None:
    watermark = Watermark(10)
    watermark.admit([11, 12, 14])

    watermark.settle([12, 14])

    assert watermark.cursor == 10


def test_cursor_passes_all_that_is_settled_without_a_gap() -> None:
    watermark = Watermark(10)
    watermark.admit([11, 12, 14, 15])
    watermark.settle([12, 14])

    watermark.settle([11])

    assert watermark.cursor == 14


def test_position_that_was_never_admitted_is_not_open() -> None:
    watermark = Watermark(10)
    watermark.admit([11])

    assert [watermark.is_open(p) for p in (10, 11, 12)] == [False, True, False]


def test_settled_position_is_not_open_while_an_older_one_holds_the_cursor() -> None:
    watermark = Watermark(0)
    watermark.admit([1, 2])
    watermark.settle([2])

    assert not watermark.is_open(2)


def test_position_admitted_twice_counts_once() -> None:
    watermark = Watermark(0)
    watermark.admit([1, 2])
    watermark.admit([1, 2, 3])

    watermark.settle([1, 2, 3])

    assert watermark.cursor == 3


@given(st.permutations(range(1, 30)), st.integers(1, 7))
def test_cursor_never_passes_what_is_open_in_whatever_order_results_come(
    order: list[int], batch: int
) -> None:
    watermark = Watermark(0)
    watermark.admit(range(1, 30))
    settled: set[int] = set()
    for start in range(0, len(order), batch):
        positions = order[start : start + batch]
        expected = watermark.after(positions)
        watermark.settle(positions)
        settled |= set(positions)
        assert watermark.cursor == expected
        assert set(range(1, watermark.cursor + 1)) <= settled
        assert watermark.cursor + 1 not in settled
    assert watermark.cursor == 29
