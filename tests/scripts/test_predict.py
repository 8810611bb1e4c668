import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from scripts.processes import ROOT, ask_script, assert_told, run_script

from nfnets.data.images import decode, eval_image
from nfnets.inference.network import open_network
from nfnets.models.zoo import create_model
from nfnets.weights import own

LABELS = ('ant', 'bee', 'crane', 'dog', 'eel')
SCENE = Path(__file__).parents[1] / 'data' / 'photos' / 'hopper_gray.jpg'


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A network that is compiled in seconds, fresh but for less certainty."""
  model = create_model('wide_resnet_16_2', len(LABELS))
  params, state = jax.device_get(model.init(jax.random.key(0)))
  params['WideResNet/~/linear']['w'] = 0.3 * params['WideResNet/~/linear']['w']
  path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
  header = own.Header('wide_resnet_16_2', {'num_classes': len(LABELS)}, 'chance', labels=LABELS)
  own.write(path, params, header, state)
  return path


@pytest.fixture(scope='module')
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """Two photographs, a torn one between them, and a text."""
  folder = tmp_path_factory.mktemp('album')
  pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
  Image.fromarray(pixels).resize((70, 50)).save(folder / 'a.png')
  (folder / 'b.jpg').write_bytes(SCENE.read_bytes()[:3000])
  (folder / 'c.jpg').write_bytes(SCENE.read_bytes())
  (folder / 'notes.txt').write_text('milk, eggs')
  return folder


def by_hand(weights: Path, *datas: bytes) -> np.ndarray:
  """Probabilities [N, classes] of photographs."""
  network = open_network(weights=str(weights))
  pixels = np.stack([eval_image(decode(data), network.geometry) for data in datas])
  inputs = (pixels - np.float32(network.mean)) / np.float32(network.std)
  outputs, _ = jax.jit(network.model.apply)(network.params, network.state, None, inputs)
  return np.asarray(jax.nn.softmax(outputs['logits']))


def test_every_photo_of_a_folder_and_one_on_standard_input(
  weights: Path, album: Path, tmp_path: Path
):
  picture = tmp_path / 'seen.png'
  done = subprocess.run(
    [
      *(sys.executable, 'scripts/predict.py', f'--weights={weights}', str(album), '-'),
      *('--json', '--top=3', '--batch_size=2', f'--picture={picture}'),
    ],
    cwd=ROOT,
    input=SCENE.read_bytes(),
    capture_output=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 1, done.stderr
  first, torn, second, piped = map(json.loads, done.stdout.splitlines())
  names = [str(album / 'a.png'), str(album / 'b.jpg'), str(album / 'c.jpg'), '-']
  assert [one['file'] for one in (first, torn, second, piped)] == names
  assert torn.keys() == {'file', 'error'}
  assert torn['error'].startswith('no whole image in these 3000 bytes')
  noise, scene = by_hand(weights, (album / 'a.png').read_bytes(), SCENE.read_bytes())
  assert np.abs(noise - scene).max() > 0.01
  for one, wanted in ((first, noise), (second, scene), (piped, scene)):
    order = np.argsort(-wanted)[:3]
    found = one['predictions']
    assert [(each['class'], each['label']) for each in found] == [(i, LABELS[i]) for i in order]
    np.testing.assert_allclose(
      [each['probability'] for each in found], wanted[order], rtol=1e-3, atol=1e-6
    )
  *_, said, error = done.stderr.decode().splitlines()
  assert said == (
    f'wide_resnet_16_2: 3 photos; passed over 1 file with no name of a photo; drew into {picture}'
  )
  assert error == f'error: no prediction for 1 of 4 photos: {album / "b.jpg"}'
  with Image.open(picture) as image:
    assert image.format == 'PNG'


@pytest.mark.slow
def test_a_table_for_people(weights: Path, album: Path):
  photo = album / 'c.jpg'
  done = ask_script('predict', f'--weights={weights}', photo, '--top=2')
  assert done.returncode == 0, done.stderr
  (wanted,) = by_hand(weights, photo.read_bytes())
  first, second = np.argsort(-wanted)[:2]
  name, *classes, _, last = done.stdout.splitlines()
  assert name == str(photo)
  assert [line.split()[1] for line in classes] == [LABELS[first], LABELS[second]]
  for line, index in zip(classes, (first, second), strict=True):
    assert float(line.split('%')[0]) == pytest.approx(100 * wanted[index], abs=0.02)
  assert last == 'wide_resnet_16_2: 1 photo'


@pytest.mark.slow
def test_a_path_that_does_not_exist_is_told_before_any_work(tmp_path: Path):
  missing, picture = tmp_path / 'missing.jpg', tmp_path / 'seen.png'
  done = ask_script('predict', '--weights=none.safetensors', SCENE, missing, f'--picture={picture}')
  assert_told(done, 2, f'{missing}: there is no such file or folder')
  assert done.stdout == ''
  assert not picture.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    ((), 'name at least one photo'),
    ((SCENE, '--picture=seen.jpg'), 'the name of a PNG file ends in .png'),
    ((SCENE, '--picture=/no/such/seen.png'), '/no/such is not a folder that can be written to'),
    ((SCENE, '--top=0'), '--top=0'),
    ((SCENE, '--precision=float16'), 'float32|bfloat16'),
    ((SCENE, '--raw'), "(--raw): weights='none.safetensors' is no run"),
  ],
)
def test_flags_that_cannot_be_used(arguments: tuple[object, ...], told: str):
  assert_told(ask_script('predict', '--weights=none.safetensors', *arguments), 2, told)


@pytest.mark.slow
def test_a_run_knows_its_network(tmp_path: Path):
  done = ask_script('predict', f'--workdir={tmp_path}', '--model=nfnet_f0', SCENE)
  assert_told(done, 2, "model='nfnet_f0': the run in", 'leave it out')


@pytest.mark.slow
def test_more_photos_than_fit_on_a_picture(weights: Path, tmp_path: Path):
  done = ask_script(
    'predict', f'--weights={weights}', *[SCENE] * 25, f'--picture={tmp_path / "seen.png"}'
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.endswith(f'25 photos; drew the first 24 into {tmp_path / "seen.png"}\n')


@pytest.mark.slow
def test_help_shows_an_example():
  done = run_script('predict', '--help')
  assert done.returncode == 0
  assert 'scripts/predict.py --model=nfnet_f0 --weights=deepmind photo.jpg' in done.stdout
