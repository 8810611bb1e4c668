"""What TFDS's builders need to take their data from a file or folder on the disk."""


class FromSource:
  """Before one of TFDS's builders among the bases: keeps where its data lies as `source`."""

  source: str

  def __init__(self, *, source: str, data_dir: str, file_format: str):
    """`source`: a file or folder; the others as TFDS has them."""
    super().__init__(data_dir=data_dir, file_format=file_format)  # pyright: ignore[reportCallIssue]
    self.source = source
