"""Whether weights may be downloaded."""

import pytest

from nfnets.errors import InputError
from nfnets.weights.offline import is_offline


@pytest.mark.parametrize(
  ('value', 'offline'),
  [('1', True), ('ON', True), ('True', True), ('0', False), ('', False), ('no', False)],
)
def test_the_environment_decides(
  monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
  monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
  monkeypatch.setenv('NFNETS_OFFLINE', value)
  assert is_offline(None, 'HF_HUB_OFFLINE', 'NFNETS_OFFLINE') is offline
  assert is_offline(None, 'HF_HUB_OFFLINE') is False


def test_the_caller_decides_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('NFNETS_OFFLINE', '1')
  assert is_offline(False, 'NFNETS_OFFLINE') is False
  monkeypatch.delenv('NFNETS_OFFLINE')
  assert is_offline(True, 'NFNETS_OFFLINE') is True


def test_neither_true_nor_false(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('NFNETS_OFFLINE', 'maybe')
  with pytest.raises(InputError, match="NFNETS_OFFLINE='maybe': set it to 1 or to 0"):
    is_offline(None, 'NFNETS_OFFLINE')
