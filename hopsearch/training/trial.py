"""One trial as plain torch: it runs in a debugger, in a test, in a warm worker, and as a rank of a
distributed training.
"""

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from hopsearch.core.errors import CheckpointError, Diverged, ResourceError
from hopsearch.core.seeds import derive
from hopsearch.data import Augment, ImageSet, Splits, epoch_batches
from hopsearch.models import Mixer, build, measure
from hopsearch.training.average import MovingAverage
from hopsearch.training.checkpoint import CheckpointFolder
from hopsearch.training.classes import class_weights, recall_row
from hopsearch.training.loop import (
    Evaluation,
    evaluate,
    failures,
    require_finite,
    soft_cross_entropy,
)
from hopsearch.training.optimizer import build_optimizer, learning_rate
from hopsearch.training.precision import Precision
from hopsearch.training.process_ranks import Ranks
from hopsearch.training.recipe.settings import TrialConfig

Row = dict[str, float]
"""The metrics of one epoch by name; ``epoch`` counts from 1."""

_VALIDATED = ("val_acc", "val_balanced_acc", "val_worst_recall", "val_loss")
METRICS = (*_VALIDATED, "train_loss", "lr", "peak_lr", "images_per_s", "seconds")
"""What every epoch of every model reports, beside the recall of each class and the model's own
measures; see `TrialRun.step`.
"""

# Reading a loss waits for the device, and for the other ranks: look at every step only where that
# is free.
_CHECK_EVERY = {"cpu": 1, "cuda": 50}
_ASK_EVERY = 20  # steps between two looks at whether to stop
# a fixed slice of the validation split is enough for the measures and costs one small forward pass
_MEASURED_IMAGES = 64


def pick_device(wanted: str, place: str = "train.device") -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ResourceError: cuda is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            place,
            "a GPU is required, got none",
            "Set train.device=auto, or assign trials a GPU: trial.gpus=1",
        )
    return torch.device(
        "cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"
    )


class Paused(Exception):  # noqa: N818  # not an error: the training is asked to stop here, to be saved and to go on elsewhere
    """An epoch was left between two steps; the state at that step can be saved."""


class TrialRun:
    """Build, `step` an epoch at a time, `save` and `load` at any epoch.

    All randomness of a step follows from (seed, epoch, step, rank), so a checkpoint holds no
    generator state, and save → load → continue gives the same curve as no interruption: bit for bit
    on a CPU with the same number of threads.

    Where torch.distributed is in use, every rank makes the same `TrialRun` and calls the same
    methods: batches and validation are shared out, gradients and metrics are those of the whole.

    Args:
        config: the whole trial.
        splits: the data; its tensors are moved to the device once a process.

    Attributes:
        epoch: epochs trained so far.
        position: optimizer steps of the next epoch that are trained already; 0 unless it was
            paused.
        ranks: who trains.
        history: one `Row` an epoch, from the first.

    Raises:
        ResourceError: a GPU is asked for and there is none.
        OutOfMemory: the model does not fit.
    """

    def __init__(self, config: TrialConfig, splits: Splits) -> None:
        self.config, self.facts = config, splits.facts
        self.device = pick_device(config.train.device)
        self.train_set, self.val_set = splits.train.to(self.device), splits.val.to(self.device)
        self.augment = Augment(config.augment, splits.facts)
        self._weights_K = class_weights(
            self.train_set.labels_N, config.model.classes, config.train.class_weights
        )
        self.ranks = Ranks()
        self.epoch = self.position = 0
        self.history: list[Row] = []
        self._loss_sum = torch.zeros((), device=self.device)
        self._generator = torch.Generator(self.device)
        torch.manual_seed(derive(config.seed, "weights"))
        with failures("building the model"):
            self.model: Mixer = build(config.model).to(self.device)
            self.model.set_grad_checkpointing(config.train.grad_checkpointing)
            self.optimizer = build_optimizer(self.model, config.optim, self.device)
        compiled = (
            cast(nn.Module, torch.compile(self.model)) if config.train.compile else self.model
        )
        self._net = self.ranks.wrap(compiled)
        decay = config.train.ema_decay
        self._ema = MovingAverage(self.model, decay) if decay else None
        self._precision = Precision(config.train, self.device)

    @property
    def evaluated(self) -> Mixer:
        """The weights that are evaluated and exported: the moving average where there is one."""
        return self._ema.module if self._ema else self.model

    @property
    def done(self) -> bool:
        """Whether all epochs are trained."""
        return self.epoch >= self.config.train.epochs

    def step(self, stop: Callable[[], bool] | None = None) -> Row:
        """Train one epoch, or what is left of it, validate, measure.

        Args:
            stop: asked now and then whether to stop in the middle; one rank that says so is enough.

        Returns:
            ``epoch``, ``train_loss`` and ``val_loss`` (nats), ``val_acc`` (0 to 1), ``lr`` (of the
            epoch's last step), ``val_balanced_acc`` (mean of the classes' recalls),
            ``val_worst_recall``, ``recall/<class>`` (up to `MOST_CLASSES`), ``peak_lr`` (of the
            whole schedule, scaled to the batch), ``images_per_s`` (training only), ``seconds`` (the
            whole epoch) and the model's own measures.

        Raises:
            Diverged: a loss is not finite; the trial cannot go on.
            OutOfMemory: the batch does not fit.
            Paused: ``stop`` said so.
        """
        started, begun_at = time.perf_counter(), self.position
        with failures(f"epoch {self.epoch + 1}"):
            self._net.train()
            train_loss = self._train_epoch(stop)
            if self._ema:
                self._ema.settle()
            trained = time.perf_counter()
            validation = self.evaluate_validation()
            measures = measure(self.evaluated, self._first_images(_MEASURED_IMAGES))
        if validation.loss != validation.loss:
            raise Diverged(
                f"epoch {self.epoch + 1}",
                "the validation loss must be finite, got nan",
                "Lower optim.lr",
            )
        size = self.config.optim.batch_size
        whole = (
            len(self.train_set) // size * size
            if self.config.optim.drop_last
            else len(self.train_set)
        )
        images = max(0, whole - begun_at * size)
        self.epoch += 1
        self.position, self._loss_sum = 0, torch.zeros((), device=self.device)
        row: Row = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            "val_loss": validation.loss,
            "val_acc": validation.accuracy,
            **recall_row(validation, self.facts.classes),
            "lr": self.optimizer.param_groups[0]["lr"],
            "peak_lr": self.config.optim.peak_lr,
            "images_per_s": images / (trained - started),
            "seconds": time.perf_counter() - started,
            **measures,
        }
        self.history.append(row)
        return row

    def evaluate_validation(self) -> Evaluation:
        """Evaluate on the validation split."""
        return self._evaluate(self.val_set)

    def evaluate_test(self, test: ImageSet) -> Evaluation:
        """Evaluate on the test split; for finished winners only."""
        return self._evaluate(test.to(self.device))

    def _evaluate(self, data: ImageSet) -> Evaluation:
        size, classes = self.config.train.eval_batch_size, self.config.model.classes
        return evaluate(self.evaluated, data, self.augment.normalize, size, classes, self.ranks)

    def save(
        self, folder: CheckpointFolder, metric: str = "val_acc", maximize: bool = True
    ) -> Path:
        """Write a checkpoint of where the training stands; a whole epoch is also kept as the best
        where ``metric`` says so.

        For rank 0 alone.

        Raises:
            CheckpointError: it cannot be written; older checkpoints are untouched.
        """
        sign = 1 if maximize else -1
        best = self.position == 0 and all(
            sign * self.history[-1][metric] > sign * row[metric] for row in self.history[:-1]
        )
        return folder.save(self.state_dict(), self.epoch, best)

    def state_dict(self) -> dict[str, Any]:
        """All that a continuation needs, in types that load without pickle."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "loss_sum": float(self._loss_sum),
            "history": self.history,
            "config": self.config.model_dump_json(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self._ema.state_dict() if self._ema else None,
            "scaler": self._precision.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same trial.

        Raises:
            CheckpointError: the checkpoint is of another configuration.
        """
        theirs, ours = TrialConfig.model_validate_json(state["config"]), self.config
        # More epochs or another device are the same trial going on elsewhere; anything else is
        # another trial.
        if theirs.model_copy(update={"train": ours.train}) != ours:
            raise CheckpointError(
                "checkpoint",
                "must be of the same configuration, got another one",
                "Remove the trial's folder",
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._ema and state["ema"] is not None:
            self._ema.load_state_dict(state["ema"])
            # checkpoints of earlier versions have the live model's singular vectors here
            self._ema.settle()
        self._precision.load_state_dict(state.get("scaler", {}))
        self.epoch, self.history = int(state["epoch"]), list(state["history"])
        self.position = int(state["position"])
        self._loss_sum = torch.tensor(
            float(state["loss_sum"]) / self.ranks.world, device=self.device
        )

    def load_newest(self, folder: CheckpointFolder) -> bool:
        """Continue from the newest readable checkpoint in ``folder``, which rank 0 alone reads;
        False where there is none.
        """
        state = self.ranks.from_first(
            folder.load_newest() if self.ranks.rank == 0 else None, self.device
        )
        if state is None:
            return False
        self.load_state_dict(state)
        return True

    @torch.inference_mode()
    def measure_latency(self, repeats: int = 20) -> float:
        """Seconds of one image's forward pass on the trial's device: the median of ``repeats``,
        after two to warm up.
        """
        net, image_1CHW = self.evaluated, self._first_images(1)
        net.eval()
        times = []
        for _ in range(repeats + 2):
            started = time.perf_counter()
            net(image_1CHW)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - started)
        net.train()
        return statistics.median(times[2:])

    def time_epoch(self, steps: int) -> float:
        """Seconds that an epoch's training would take, from so many steps after one to warm up; the
        training is spoilt by it.
        """
        order = torch.Generator(self.device).manual_seed(0)
        batches = self._batches(order)
        self._train_step(batches[0], 0, len(batches))
        started = time.perf_counter()
        for step in range(steps):
            loss = self._train_step(batches[step % len(batches)], step, len(batches))
        float(loss)  # waits for the device
        return (time.perf_counter() - started) / steps * len(batches)

    def _train_epoch(self, stop: Callable[[], bool] | None) -> float:
        # The order is that of all ranks, whatever their number: a training may go on with more or
        # fewer of them.
        order = torch.Generator(self.device).manual_seed(
            derive(self.config.seed, "order", self.epoch)
        )
        batches = self._batches(order)
        check_every = _CHECK_EVERY.get(self.device.type, 50) if self.ranks.world == 1 else 50
        for step in range(self.position, len(batches)):
            self._loss_sum += self._train_step(batches[step], step, len(batches))
            self.position = step + 1
            if self.position % check_every == 0:
                require_finite(self.ranks.sum(self._loss_sum.clone()), step)
            if (
                stop
                and (self.position % _ASK_EVERY == 0 or self.position == len(batches))
                and self._agreed(stop())
            ):
                self._loss_sum = self.ranks.sum(self._loss_sum)
                raise Paused
        total = self.ranks.sum(self._loss_sum)
        require_finite(total, self.position)
        return float(total) / sum(map(len, batches))

    def _batches(self, order: torch.Generator) -> list[torch.Tensor]:
        optim, device = self.config.optim, self.train_set.index_device
        return list(
            epoch_batches(
                len(self.train_set), optim.batch_size, order, optim.drop_last, device=device
            )
        )

    def _first_images(self, count: int) -> torch.Tensor:
        # Of the validation split, ready for the model.
        return self.augment.normalize(self.val_set.batch(slice(0, count))[0])

    def _agreed(self, stop: bool) -> bool:
        # One rank knows by itself: nothing to wait for, no word from the device.
        return (
            stop
            if self.ranks.world == 1
            else bool(self.ranks.sum(torch.tensor(float(stop), device=self.device)))
        )

    def _train_step(self, index_B: torch.Tensor, step: int, steps: int) -> torch.Tensor:
        # Returns the sum of the loss over this rank's images.
        config, ranks = self.config, self.ranks
        # dropout and drop-path draw from the global generator
        for seed in (torch.manual_seed, self._generator.manual_seed):
            seed(derive(config.seed, "step", self.epoch, step, ranks.rank))
        mine_B = index_B[ranks.share(len(index_B))]
        # A rank without an image goes through the motions for one of weight 0: the others wait for
        # its gradients.
        parts = (
            mine_B.split(config.train.micro_batch or len(mine_B)) if len(mine_B) else (index_B[:1],)
        )
        total = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for part, index in enumerate(parts):
            self.model.norms_held = part > 0
            with ranks.apart(self._net) if part < len(parts) - 1 else contextlib.nullcontext():
                batch = self.train_set.batch(index)
                loss = self._loss(*self.augment(*batch, self._generator, len(index) / len(index_B)))
                images = len(index) if len(mine_B) else 0
                # ranks are averaged, so that images count alike wherever they are
                weight = images * ranks.world / len(index_B)
                self._precision.backward(loss if weight == 1 else loss * weight)
                total += loss.detach() * images
        self._update(self.epoch * steps + step, steps)
        return total

    def _loss(self, x_BCHW: torch.Tensor, targets_BK: torch.Tensor) -> torch.Tensor:
        with self._precision.autocast():
            logits_BK = self._net(x_BCHW)
        return (
            soft_cross_entropy(logits_BK, targets_BK, self._weights_K) + self.model.regularization()
        )

    def _update(self, step: int, steps_per_epoch: int) -> None:
        optim = self.config.optim
        rate = learning_rate(step, steps_per_epoch, self.config.train.epochs, optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._precision.step(self.optimizer, self.model, optim.clip_grad)
        if self._ema:
            self._ema.update(self.model)
