import pytest

from nfnets import names
from nfnets.errors import InputError

TABLE = {'nfnet_f0': 1, 'nfnet_f1': 2, 'resnet50': 3}


def test_a_name_of_the_table_gives_its_value():
  assert names.look_up('nfnet_f1', TABLE, argument='model') == 2


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('nfnet_f9', r"^model='nfnet_f9' is not known: did you mean nfnet_f1, nfnet_f0\?$"),
    ('resnet5', r"^model='resnet5' is not known: did you mean resnet50\?$"),
    ('vit', r"^model='vit' is not known: it is one of nfnet_f0, nfnet_f1, resnet50$"),
    ('', r"^model='' is not known: it is one of nfnet_f0, nfnet_f1, resnet50$"),
  ],
)
def test_a_wrong_name_is_told_the_nearest_or_all(name: str, message: str):
  with pytest.raises(InputError, match=message):
    names.look_up(name, TABLE, argument='model')


def test_an_empty_table_knows_nothing():
  with pytest.raises(InputError, match=r"^model='a' is not known: "):
    names.look_up('a', {}, argument='model')
