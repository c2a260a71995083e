"""What a network's answer rests on: Grad-CAM at any named layer (Selvaraju et al. 2017), gradients of keypoints. No drawing here.

Both need the answer as a number: the logit of a gloss at a step, or of a class. Networks stay in their evaluation form, so that what is explained
is what prediction answers.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.errors import LayerError

NAMED = 12  # layers that an error lists


@dataclass(kw_only=True, eq=False)
class Activation:
    """What a layer gave: `value` is a leaf, so that gradients end there and what lies before it costs no backward pass."""

    value: Tensor | None = None
    calls: int = 0

    def gradient(self, score: Tensor) -> Tensor:
        """∂score/∂value; zeros where the score doesn't depend on the layer. May be asked for several scores."""
        assert self.value is not None
        (gradient,) = torch.autograd.grad(score, self.value, retain_graph=True, allow_unused=True)
        return torch.zeros_like(self.value) if gradient is None else gradient


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """`network` in its evaluation form, its weights without gradients, with gradients of all else; put back afterwards."""
    was_training, wanted = network.training, [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval().requires_grad_(False)
    try:
        # cuDNN's recurrent layers have no backward pass in evaluation form.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        network.train(was_training)
        for parameter in wanted:
            parameter.requires_grad_(True)


@contextmanager
def watched(network: nn.Module, layer: str) -> Iterator[Activation]:
    """What `layer` gives in the forward pass within. Raises LayerError, afterwards, where it didn't run once, or gave no single tensor."""
    seen = Activation()

    def keep(module: nn.Module, given: object, output: object) -> object:
        seen.calls += 1
        if not isinstance(output, Tensor) or not output.is_floating_point():
            raise LayerError(f"layer {layer!r} gives {type(output).__name__}, and one tensor is needed: name one of its parts")
        seen.value = output.detach().requires_grad_()
        return seen.value.clone()  # what follows may work in place

    hook = network.get_submodule(layer).register_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()
    if seen.calls != 1:
        raise LayerError(f"layer {layer!r} runs {seen.calls} times in a forward pass, and once is needed: name another")


def grad_cam(activation: Tensor, gradient: Tensor, *, channels: int, pooled: Sequence[int]) -> Tensor:
    """ReLU(Σ_c mean(gradient_c) · activation_c), the mean over the axes `pooled`: `activation` without its axis `channels`."""
    weights = gradient.mean(dim=tuple(pooled), keepdim=True) if pooled else gradient
    return (weights * activation).sum(channels).relu()


@dataclass(kw_only=True)
class _Shapes:
    found: dict[str, tuple[int, ...]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


def layer_shapes(network: nn.Module, run: Callable[[], object]) -> dict[str, tuple[int, ...]]:
    """Every layer that gives one tensor, once, in the forward pass `run`, in its order, and the tensor's shape. Dropout, which does nothing, is left out."""
    shapes = _Shapes()

    def keep_shape(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, given: object, output: object) -> None:
            shapes.calls[name] = shapes.calls.get(name, 0) + 1
            if isinstance(output, Tensor) and output.is_floating_point():
                shapes.found[name] = tuple(output.shape)

        return keep

    hooks = [module.register_forward_hook(keep_shape(name)) for name, module in network.named_modules() if name and not isinstance(module, nn.Dropout)]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: shape for name, shape in shapes.found.items() if shapes.calls[name] == 1}


def check_layer(layer: str, known: Sequence[str], *, what: str) -> None:
    """Raises LayerError that lists the layers, the nearest first named, where `layer` is none of `known`."""
    if layer in known:
        return
    nearest = difflib.get_close_matches(layer, known, n=1, cutoff=0)
    listed = ", ".join(known[:: max(1, -(-len(known) // NAMED))])
    raise LayerError(
        f"no layer {layer!r} {what}" + (f": the nearest is {nearest[0]!r}" if nearest else "") + f"; some of {len(known)}: {listed} (--list-layers: all)"
    )
