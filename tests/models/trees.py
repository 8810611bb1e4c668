"""Trees of parameters as the shapes of their leaves."""


def shapes(tree):
  return {
    module: {name: list(leaf.shape) for name, leaf in leaves.items()}
    for module, leaves in tree.items()
  }


def init_shapes(model):
  return tuple(map(shapes, model.shapes()))
