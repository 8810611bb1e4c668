"""The kernels for CPUs are compiled once, or left out without harm: in processes of their own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from nfnets.native import use_kernels

COMPILER = next(filter(None, map(shutil.which, ('c++', 'g++', 'clang++'))), None)
compiles = pytest.mark.skipif(COMPILER is None, reason='there is no C++ compiler')

USE = """
import json, logging
logging.basicConfig(format='%(message)s')
from nfnets import native
before = native.are_in_use()
print(json.dumps([before, native.use_kernels(), native.are_in_use()]))
"""


def use(folder, **environment):
  """What the kernels say of themselves before and after `use_kernels`, and what is logged."""
  done = subprocess.run(
    [sys.executable, '-c', USE],
    env=os.environ | {'NFNETS_CACHE': str(folder), 'NFNETS_NATIVE': '1'} | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout), done.stderr.splitlines()


@compiles
def test_they_are_compiled_once(tmp_path):
  assert use(tmp_path) == ([False, True, True], [])
  (library,) = (tmp_path / 'native').iterdir()
  when = library.stat().st_mtime_ns
  assert use(tmp_path) == ([False, True, True], [])
  assert [file.stat().st_mtime_ns for file in (tmp_path / 'native').iterdir()] == [when]


@pytest.mark.parametrize('value', ['0', 'off', 'False'])
def test_they_are_left_out_where_nobody_wants_them(tmp_path, value):
  assert use(tmp_path, NFNETS_NATIVE=value) == ([False, False, False], [])
  assert not (tmp_path / 'native').exists()


def test_without_a_compiler_xla_computes_all(tmp_path):
  assert use(tmp_path, PATH=str(tmp_path)) == ([False, False, False], [])


def test_a_compiler_that_is_named_but_not_there_is_told(tmp_path):
  answer, (log,) = use(tmp_path, CXX='no-such-compiler')
  assert answer == [False, False, False]
  assert log.endswith("CXX='no-such-compiler' is not found: name a C++ compiler, or unset it")


@compiles
def test_a_compiler_may_be_a_command_with_arguments(tmp_path):
  assert use(tmp_path, CXX=f'{shutil.which("env")} {COMPILER}') == ([False, True, True], [])


@pytest.mark.parametrize(('platforms', 'used'), [('', False), ('cpu', COMPILER is not None)])
def test_where_an_accelerator_computes_nothing_is_compiled(tmp_path, monkeypatch, platforms, used):
  (tmp_path / 'accel0').touch()
  monkeypatch.setattr('nfnets.accelerators._DEVICES', (f'{tmp_path}/accel[0-9]*',))
  monkeypatch.setattr('nfnets.native.library._load', lambda: COMPILER is not None)
  monkeypatch.setattr('nfnets.native.library._in_use', False)
  monkeypatch.setenv('NFNETS_NATIVE', '1')
  monkeypatch.setenv('JAX_PLATFORMS', platforms)
  assert use_kernels() is used


def test_a_compiler_that_fails_is_told_in_one_line(tmp_path):
  compiler = tmp_path / 'broken-c++'
  compiler.write_text('#!/bin/sh\necho "x.cc:1: error: too new for me" >&2\nexit 1\n')
  compiler.chmod(0o755)
  answer, log = use(tmp_path / 'cache', CXX=str(compiler))
  assert answer == [False, False, False]
  assert log == [
    'kernels for this CPU cannot be compiled, so XLA computes all: x.cc:1: error: too new for me'
  ]
  assert list((tmp_path / 'cache' / 'native').iterdir()) == []


@compiles
def test_nothing_is_loaded_from_where_others_can_write(tmp_path):
  folder = tmp_path / 'native'
  folder.mkdir()
  folder.chmod(0o777)
  answer, (log,) = use(tmp_path)
  assert answer == [False, False, False]
  assert 'others can write there' in log
