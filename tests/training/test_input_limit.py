from nfnets.training.input_limit import InputLimit


def test_waiting_up_to_a_fifth_of_the_time_is_no_word_worth():
  limit = InputLimit(threads=2, workers=0, cores=16)
  assert limit.word(0.2) is None
  assert limit.word(0.21) == (
    'input is the limit: 21% of the time went by waiting for images; data.threads=2 and '
    'data.workers=0 use 2 of the 16 cores of this machine: try more of either (workers are '
    'processes, which do not wait for one another)'
  )


def test_it_is_said_once_in_ten_lines():
  limit = InputLimit(threads=2, workers=0, cores=16)
  said = [limit.word(share) is not None for share in [0.5] * 11 + [0.1] * 30 + [0.9] * 3]
  assert [i for i, word in enumerate(said) if word] == [0, 10, 41]


def test_where_all_cores_are_busy_no_more_threads_are_advised():
  for threads, workers in [(2, 8), (16, 0), (16, 1), (3, 6)]:
    word = InputLimit(threads=threads, workers=workers, cores=16).word(0.5)
    assert word.endswith(
      f'data.threads={threads} and data.workers={workers} keep all 16 cores of this machine busy: '
      'only more cores would help'
    )


def test_the_cores_of_this_machine_are_counted():
  assert ' cores of this machine busy' in InputLimit(threads=10**6, workers=0).word(1.0)
