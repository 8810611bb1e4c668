import os
import signal
import time
from collections.abc import Iterator

import pytest

from nfnets.training.stopping import StopFlag

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def caught() -> Iterator[list[int]]:
  """The signals that reach whoever handled them before."""
  caught: list[int] = []
  before = {one: signal.signal(one, lambda number, _: caught.append(number)) for one in SIGNALS}
  yield caught
  for one, handler in before.items():
    signal.signal(one, handler)


def send(one: signal.Signals) -> None:
  os.kill(os.getpid(), one)


@pytest.mark.parametrize('one', SIGNALS)
def test_a_signal_sets_the_flag_and_nothing_else(caught: list[int], one: signal.Signals):
  with StopFlag() as stop:
    assert not stop.at(1)
    send(one)
    assert stop.at(2)
    assert stop.at(3)
  assert stop.at(4)
  assert caught == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
  """The time; tests move it."""
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  return now


@pytest.mark.parametrize('second', SIGNALS)
def test_a_second_signal_acts_as_it_always_did(
  caught: list[int], clock: list[float], second: signal.Signals
):
  with StopFlag() as stop:
    send(signal.SIGTERM)
    clock[0] += 1.5
    send(second)
    assert caught == [second]
    assert stop.at(1)
    send(second)
    assert caught == [second, second]


@pytest.mark.parametrize('second', SIGNALS)
def test_what_is_told_twice_at_once_is_told_once(
  caught: list[int], clock: list[float], second: signal.Signals
):
  """By a terminal to all its processes, and by a supervisor among them to the run."""
  with StopFlag() as stop:
    send(signal.SIGTERM)
    clock[0] += 0.5
    send(second)
    assert stop.at(1)
  assert caught == []


def test_the_handlers_are_restored(caught: list[int]):
  before = [signal.getsignal(one) for one in SIGNALS]
  with StopFlag():
    assert [signal.getsignal(one) for one in SIGNALS] != before
  assert [signal.getsignal(one) for one in SIGNALS] == before
  with pytest.raises(RuntimeError), StopFlag():
    raise RuntimeError
  assert [signal.getsignal(one) for one in SIGNALS] == before
  send(signal.SIGTERM)
  assert caught == [signal.SIGTERM]


def test_a_flag_begins_anew(caught: list[int]):
  with StopFlag():
    send(signal.SIGTERM)
  with StopFlag() as stop:
    assert not stop.at(1)
