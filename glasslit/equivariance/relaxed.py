r"""Relaxed group convolution on images: a weight for each quarter turn of the plane, the group C4.

A group convolution applies one filter in all four orientations. A *relaxed* one multiplies each orientation g by a
weight w(g) of its own (Wang et al., ICML 2024, arXiv 2310.02299). The weights start equal, and then the layer is
equivariant. Turning weights and input together turns the output, whatever the weights are:

.. math:: L_{r w}(r f) = r\, L_w(f), \\ (r w)(g) = w(r^{-1} g)

so that training keeps every symmetry which the input and the target share. Conventions: orientation g = 0 ... 3 is a
rotation by g quarter turns counterclockwise, as ``torch.rot90`` does; images are square and filters have an odd
size, so that quarter turns are exact. Reflections and other angles are not treated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from .arguments import Axis, check_tensor, check_whole

ORDER = 4
"""Number of elements of C4."""
_IMAGES: tuple[Axis, ...] = (..., "S", "S")
_FEATURES: tuple[Axis, ...] = (..., ORDER, "S", "S")
CAST = "input.to(layer.filters), or give the layer the dtype and device of the input"
"""What to do where an input has another dtype or device than the filters."""


def check_filters(size: int, **counts: int) -> None:
    """Refuse numbers of filters and channels below one, and filters without a center.

    Parameters
    ----------
    size : pixels along an edge of a filter
    counts : numbers of channels and filters, by name

    Raises
    ------
    ValueError
        If one is no whole number of at least 1, or the size is even.
    """
    for name, count in {**counts, "size": size}.items():
        check_whole(name, count)
    if size % 2 == 0:
        raise ValueError(f"size = {size}; expected an odd number, so that a filter has a center: {size + 1}")


def turn_image(image: Tensor, turns: int) -> Tensor:
    """Images turned counterclockwise by quarter turns.

    Parameters
    ----------
    image : shape (..., S, S)
    turns : number of quarter turns

    Raises
    ------
    ValueError
        If the images are no tensor of squares, or the number is not whole.
    """
    check_tensor("image", image, *_IMAGES, advice=", square images")
    check_whole("turns", turns, None)
    return torch.rot90(image, turns, (-2, -1))


def turn_features(features: Tensor, turns: int) -> Tensor:
    """Features on the group turned: each orientation's image turns, and takes the place of the next orientation.

    Parameters
    ----------
    features : shape (..., 4, S, S)
    turns : number of quarter turns

    Raises
    ------
    ValueError
        If the features are no tensor of such a shape, or the number is not whole.
    """
    check_tensor("features", features, *_FEATURES, advice=", an image for each quarter turn; turn_image turns images")
    return turn_image(features, turns).roll(turns, dims=-3)


def turn_weights(weights: Tensor, turns: int) -> Tensor:
    """Weights of the four orientations, each handed on to the next orientation.

    Parameters
    ----------
    weights : shape (..., 4)
    turns : number of quarter turns

    Raises
    ------
    ValueError
        If the weights are no tensor of such a shape, or the number is not whole.
    """
    _check_weights(weights)
    check_whole("turns", turns, None)
    return weights.roll(turns, dims=-1)


def _check_weights(weights: Tensor) -> None:
    check_tensor("weights", weights, ..., ORDER, advice=", one for each quarter turn")


def fourier_content(weights: Tensor) -> Tensor:
    r"""What weights of the four orientations contain of the irreps of C4: A, B and the pair E.

    .. math:: A = w_0 + w_1 + w_2 + w_3, \\ B = w_0 - w_1 + w_2 - w_3, \\ E = (w_0 - w_2,\; w_1 - w_3)

    A does not change when the weights are turned, B changes its sign, and E turns by a right angle.

    Parameters
    ----------
    weights : shape (..., 4)

    Returns
    -------
    shape (..., 4): A, B and the two components of E

    Raises
    ------
    ValueError
        If the weights are no tensor of such a shape.

    Examples
    --------
    >>> fourier_content(torch.tensor([1.5, 0.5, 1.5, 0.5]))
    tensor([4., 2., 0., 0.])
    """
    _check_weights(weights)
    w0, w1, w2, w3 = weights.unbind(-1)
    return torch.stack([w0 + w1 + w2 + w3, w0 - w1 + w2 - w3, w0 - w2, w1 - w3], dim=-1)


def turning_errors(
    layer: Callable[[Tensor], Tensor],
    inputs: Tensor,
    turn_in: Callable[[Tensor, int], Tensor] = turn_image,
    turn_out: Callable[[Tensor, int], Tensor] = turn_image,
) -> Tensor:
    r"""How far a layer is from turning with its input, relative to its output, for one, two and three quarter turns.

    .. math:: \epsilon_k = \frac{\max|L(r^k f) - r^k L(f)|}{\max|L(f)|}

    Parameters
    ----------
    layer : what is checked
    inputs : images (..., S, S), or features (..., 4, S, S), without a symmetry of their own
    turn_in, turn_out : how the input and the output turn, :func:`turn_image` or :func:`turn_features`

    Returns
    -------
    shape (3,): the errors for k = 1, 2, 3

    Raises
    ------
    ValueError
        If the output is not finite, or zero everywhere: such a check would show nothing. If inputs or output are no
        tensor that ``turn_in`` or ``turn_out`` can turn, such as the output of a layer that pools all pixels.
    """
    shapes: dict[Callable[..., Tensor], tuple[Axis, ...]] = {turn_image: _IMAGES, turn_features: _FEATURES}
    advice = ": a layer that pools over all pixels has no image left to turn; check what comes before the pooling"
    check_tensor("inputs", inputs, *shapes.get(turn_in, _IMAGES))
    with torch.no_grad():
        plain = layer(inputs)
        check_tensor("the output", plain, *shapes.get(turn_out, (...,)), advice=advice)
        if turn_in in shapes and turn_out in shapes and plain.shape[-1] != inputs.shape[-1]:
            before, after = inputs.ndim - len(shapes[turn_in]), plain.ndim - len(shapes[turn_out])
            if after < before:  # (batch, channels) may be square by chance
                raise ValueError(
                    f"the output of shape {tuple(plain.shape)} for inputs of shape {tuple(inputs.shape)}; expected the "
                    f"input's axes before those that turn{advice}"
                )
        scale = plain.abs().max() if plain.numel() else torch.zeros(())
        if not (torch.isfinite(scale) and scale > 0):
            raise ValueError(f"the largest output is {float(scale)}; expected finite numbers, not all of them zero")
        off = []
        for k in range(1, ORDER):
            turned, expected = layer(turn_in(inputs, k)), turn_out(plain, k)
            check_tensor("the output for a turned input", turned, *expected.shape, advice=", that of the turned output")
            off.append((turned - expected).abs().max() / scale)
    return torch.stack(off)


class _Relaxed(nn.Module):
    """What both layers share: filters, their weights for each orientation, and checks of shapes."""

    def __init__(self, shape: tuple[int, ...], filters: int, size: int) -> None:
        super().__init__()
        check_filters(size, channels_in=shape[1], channels_out=shape[0], filters=filters)
        limit = 1 / math.sqrt(math.prod(shape[1:]) * size**2)
        self.filters = nn.Parameter(torch.empty(filters, *shape, size, size).uniform_(-limit, limit))
        self.relaxed = nn.Parameter(torch.ones(filters, ORDER))
        self.padding = size // 2

    def oriented(self, orientation: int) -> Tensor:
        """All filters in one orientation, shape (filters, out, in, [4,] size, size)."""
        return turn_image(self.filters, orientation)

    def bank(self) -> Tensor:
        """The four orientations, each summed over filters with its weights, shape (out, 4, in, [4,] size, size)."""
        turned = [torch.einsum("l,l...->...", self.relaxed[:, g], self.oriented(g)) for g in range(ORDER)]
        return torch.stack(turned, dim=1)

    def convolve(self, images: Tensor) -> Tensor:
        """Images (batch, in, S, S), or (batch, in, 4, S, S) -> features (batch, out, 4, S, S)."""
        inner = self.filters.shape[2:-2]
        check_tensor("input", images, "batch", *inner, "S", "S", advice=", square images", like=(self.filters, CAST))
        kernel = self.bank().flatten(2, -3).flatten(0, 1)
        flat = nn.functional.conv2d(images.flatten(1, -3), kernel, padding=self.padding)
        return flat.unflatten(1, (-1, ORDER))


class RelaxedLifting(_Relaxed):
    r"""From images to features on the group: a filter in four orientations, each with its weight.

    .. math:: F(x, g) = \sum_l w_l(g) \\ \times \sum_y \psi_l\big(g^{-1}(y - x)\big)\, f(y)

    Parameters
    ----------
    channels_in, channels_out : numbers of channels
    size : pixels of a filter's edge, odd
    filters : number of filters that are summed with weights of their own, the index l

    Raises
    ------
    ValueError
        If the size is even or a number is not whole or below one, or, when applied, if shape, dtype or device of the
        images do not fit.

    Examples
    --------
    >>> RelaxedLifting(1, 3)(torch.zeros(5, 1, 9, 9)).shape
    torch.Size([5, 3, 4, 9, 9])
    """

    def __init__(self, channels_in: int, channels_out: int, size: int = 3, filters: int = 1) -> None:
        super().__init__((channels_out, channels_in), filters, size)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, channels_in, S, S) -> features (batch, channels_out, 4, S, S)."""
        return self.convolve(images)


class RelaxedConvolution(_Relaxed):
    r"""From features on the group to features on the group.

    .. math:: F'(x, g) = \sum_l w_l(g) \\ \times \sum_{y, h} \psi_l\big(g^{-1}(y - x),\; g^{-1} h\big)\, F(y, h)

    Parameters
    ----------
    channels_in, channels_out : numbers of channels
    size : pixels of a filter's edge, odd
    filters : number of filters that are summed with weights of their own, the index l

    Raises
    ------
    ValueError
        If the size is even or a number is not whole or below one, or, when applied, if shape, dtype or device of the
        features do not fit.

    Examples
    --------
    >>> RelaxedConvolution(3, 2)(torch.zeros(5, 3, 4, 9, 9)).shape
    torch.Size([5, 2, 4, 9, 9])
    """

    def __init__(self, channels_in: int, channels_out: int, size: int = 3, filters: int = 1) -> None:
        super().__init__((channels_out, channels_in, ORDER), filters, size)

    def oriented(self, orientation: int) -> Tensor:
        """All filters in one orientation: turned, and read from the orientation on that is asked for."""
        return turn_features(self.filters, orientation)

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, channels_in, 4, S, S) -> features (batch, channels_out, 4, S, S)."""
        return self.convolve(features)


class RelaxedNetwork(nn.Module):
    """From an image to an image: a lifting, relaxed convolutions with ReLU between, and the mean over orientations.

    Parameters
    ----------
    channels : of the layers between
    layers : number of layers, the lifting included, at least two
    size : pixels of a filter's edge, odd
    filters : number of filters of each layer

    Raises
    ------
    ValueError
        If there are fewer than two layers, and as in :class:`RelaxedLifting`.

    Examples
    --------
    >>> net = RelaxedNetwork(channels=2)
    >>> net(torch.zeros(1, 1, 9, 9)).shape, net.relaxed_weights().shape
    (torch.Size([1, 1, 9, 9]), torch.Size([3, 1, 4]))
    """

    def __init__(self, channels: int = 8, layers: int = 3, size: int = 3, filters: int = 1) -> None:
        super().__init__()
        check_whole("layers", layers, 2)  # a lifting and a convolution
        between = [RelaxedConvolution(channels, channels, size, filters) for _ in range(layers - 2)]
        last = RelaxedConvolution(channels, 1, size, filters)
        self.layers = nn.ModuleList([RelaxedLifting(1, channels, size, filters), *between, last])

    def relaxed_weights(self) -> Tensor:
        """The weights of all layers, shape (layers, filters, 4), detached."""
        return torch.stack([cast(Tensor, layer.relaxed).detach() for layer in self.layers])

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 1, S, S) -> images (batch, 1, S, S)."""
        *before, last = self.layers
        h = images
        for layer in before:
            h = torch.relu(layer(h))
        return cast(Tensor, last(h).mean(dim=2))
