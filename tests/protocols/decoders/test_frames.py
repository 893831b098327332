"""Frames survive whatever pieces they arrive in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.decoders.frames import MAX_FRAME_BYTES, FrameError, FrameReader, frame


@given(
    bodies=st.lists(st.binary(max_size=40), max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=300), max_size=8),
)
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frame(body) for body in bodies)
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    reader = FrameReader()
    out: list[bytes] = []
    for start, end in pairwise(edges):
        out += reader.feed(stream[start:end])
    assert out == bodies


def test_absurd_length_is_an_error() -> None:
    with pytest.raises(FrameError):
        FrameReader().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "little"))
