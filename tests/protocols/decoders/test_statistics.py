"""Counting calls, and telling slow decoders from quick ones."""

from protocols.decoders.statistics import CallRecorder


def recorder_after(*walls_s: float) -> CallRecorder:
    recorder = CallRecorder(slow_call_s=0.005)
    for wall_s in walls_s:
        recorder.record(wall_s=wall_s, cpu_s=wall_s * 0.9)
    return recorder


def test_one_slow_call_does_not_make_a_slow_decoder() -> None:
    assert not recorder_after(0.1, *[0.001] * 50).is_slow
    assert recorder_after(0.1, *[0.001] * 50, 0.006).is_slow


def test_slow_calls_are_forgotten_after_a_hundred_quick_ones() -> None:
    recorder = recorder_after(*[0.1] * 10, *[0.001] * 91)
    assert recorder.is_slow
    assert not recorder_after(*[0.1] * 10, *[0.001] * 99).is_slow


def test_call_that_waits_for_the_processor_is_not_slow() -> None:
    recorder = recorder_after()
    for _ in range(10):
        recorder.record(wall_s=1.0, cpu_s=0.0001)
    assert not recorder.is_slow
    assert recorder.mean_cpu_s < 0.001


def test_quantiles_are_those_of_the_last_hundred_calls() -> None:
    recorder = recorder_after(*[1.0] * 100, *(n / 1000 for n in range(100)))
    assert recorder.quantile_s(0.5) == 0.050
    assert recorder.quantile_s(0.99) == 0.099
    assert recorder_after().quantile_s(0.5) == 0.0


def test_calls_and_processor_time_add_up() -> None:
    recorder = recorder_after(0.5, 1.5)
    assert (recorder.calls, recorder.cpu_s) == (2, 1.8)
