"""Checks of a trial's run, the same whatever is trained: what the task gives it, whether its
numbers are finite, and whether it ran out of memory.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from hopsearch.core.config import brief
from hopsearch.core.errors import Diverged, OutOfMemory, TaskError


@contextlib.contextmanager
def failures(place: str) -> Iterator[None]:
    """Tell out-of-memory from other errors: torch reports it in several ways.

    Raises:
        OutOfMemory: the body ran out of device or host memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(
            error
        ):
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OutOfMemory(
                place,
                f"the configuration must fit into memory, got: {text}",
                "Set constraint.max_memory",
            ) from error
        raise


@contextlib.contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Modules in evaluation mode, without dropout and with fixed batch statistics; afterwards as
    they were.

    Gradients stay as they are outside: a model may need them to evaluate, e.g. of its energy.
    """
    before = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.train(training)


def require_items(count: object, owner: str) -> None:
    """Refuse a count of training items that `TrialRun.prepare` did not set.

    Raises:
        TaskError: it is no number above 0.
    """
    if not isinstance(count, int) or count < 1:
        rule = f"prepare() must set n_train to the number of training items, got {brief(count)}"
        raise TaskError(owner, rule, "Write self.n_train = …")


def require_model(model: object, owner: str) -> None:
    """Refuse a task's new model if it cannot be trained.

    Raises:
        TaskError: it is no module, or has no parameters.
    """
    if not isinstance(model, nn.Module):
        rule = f"build() must return a torch.nn.Module, got {brief(model)}"
        raise TaskError(owner, rule, "Return the model")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        rule = "build() must return a model with parameters to train, got one without"
        raise TaskError(owner, rule, "Return a model with at least one layer that learns")


def require_loss(loss: object, owner: str) -> None:
    """Refuse what cannot be a batch's loss.

    Raises:
        TaskError: it is not one number with a gradient.
    """
    if not (isinstance(loss, torch.Tensor) and loss.ndim == 0 and loss.requires_grad):
        got = brief(loss)
        if isinstance(loss, torch.Tensor):
            got = f"shape {tuple(loss.shape)}" if loss.ndim else "one without a gradient"
        rule = f"loss() must return a tensor of one number with a gradient, got {got}"
        raise TaskError(owner, rule, "Return the mean of the items' losses, e.g. loss.mean()")


def numbers(row: object, owner: str) -> dict[str, float]:
    """A task's metrics as plain numbers.

    Raises:
        TaskError: they are no numbers by name.
    """
    if not isinstance(row, Mapping):
        rule = f"must return numbers by name, got {brief(row)}"
        raise TaskError(owner, rule, 'Return e.g. {"val_error": 0.1}')
    found = {}
    for name, value in row.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            rule = f"must return a number for {name}, got {brief(value)}"
            raise TaskError(owner, rule, f"Return float({name})") from None
    return found


def require_all_finite(row: Mapping[str, float], place: str) -> None:
    """Refuse an epoch's metrics if one is not finite.

    Raises:
        Diverged: the first of them.
    """
    for name, value in row.items():
        if not math.isfinite(value):
            raise Diverged(place, f"{name} must be finite, got {value}", "Lower optim.lr")


def require_finite(loss: torch.Tensor, step: int) -> None:
    """Wait for the device and look at a loss.

    Raises:
        Diverged: it is not finite.
    """
    value = float(loss.detach())
    if value != value or value in (float("inf"), float("-inf")):
        raise Diverged(
            f"step {step} of the epoch",
            f"the training loss must be finite, got {value}",
            "Lower optim.lr",
        )
