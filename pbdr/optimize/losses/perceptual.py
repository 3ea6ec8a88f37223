"""A loss in the feature space of a network of the user, which PyTorch evaluates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import drjit as dr
import mitsuba as mi

from ...errors import InputError, MissingExtra
from ...messages import first_sentence
from ..user_functions import is_import_path, load_function


def make_perceptual(network: str, where: str) -> Callable[[mi.TensorXf, mi.TensorXf], mi.TensorXf]:
    """Mean squared difference of a network's features of both images.

    Args:
        network: A TorchScript file, or ``module:function`` of a function without arguments that returns the network.
            It takes images [1, 3, H, W] and returns a tensor of features, or a list of them, each of which counts the
            same.
        where: Name of the job's entry, for error sentences.

    Example:
        >>> loss = make_perceptual("vgg_features.pt", "losses.0")
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("the loss 'perceptual'", package="torch", extra="torch") from None
    if is_import_path(network):
        features = load_function(network, f"{where}.network", arguments=0)()
    elif not Path(network).is_file():
        raise InputError(f"{where}: the network '{network}' does not exist")
    else:
        try:
            features = torch.jit.load(network, map_location="cpu").eval()
        except RuntimeError as error:
            raise InputError(f"{where}: the network '{network}' cannot be read: {first_sentence(str(error))}") from None

    @dr.wrap(source="drjit", target="torch")
    def distance(image, target):
        pairs = [features(x.permute(2, 0, 1)[None]) for x in (image, target)]
        first, second = (list(x) if isinstance(x, list | tuple) else [x] for x in pairs)
        return sum(torch.mean((a - b) ** 2) for a, b in zip(first, second, strict=True)) / len(first)

    def perceptual(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
        return mi.TensorXf(dr.ravel(distance(image, target)))

    return perceptual
