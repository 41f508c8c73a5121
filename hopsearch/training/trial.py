"""One trial as plain torch: it runs in a debugger, in a test, in a warm worker, and as a rank of a distributed training."""

import time
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hopsearch.data import Augment, ImageSet, Splits
from hopsearch.errors import CheckpointError, Diverged, ResourceError
from hopsearch.models import Mixer, build, measure
from hopsearch.seeds import derive
from hopsearch.training.checkpoint import CheckpointFolder
from hopsearch.training.loop import Evaluation, evaluate, failures, soft_cross_entropy, train_epoch
from hopsearch.training.optimizer import build_optimizer, learning_rate
from hopsearch.training.recipe import TrialConfig

Row = dict[str, float]
"""The metrics of one epoch by name; ``epoch`` counts from 1."""

_MEASURED_IMAGES = 64  # a fixed slice of the validation split is enough for the measures and costs one small forward pass


def pick_device(wanted: str, place: str = "train.device") -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ResourceError: cuda is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            place, "a GPU must be there, got none", "Set train.device=auto or trial.gpus=0, or run where a GPU is"
        )
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


class TrialRun:
    """Build, `step` an epoch at a time, `save` and `load` at any epoch.

    All randomness of an epoch follows from (seed, epoch), so a checkpoint holds no generator state, and save → load →
    continue gives the same curve as no interruption: bit for bit on a CPU with the same number of threads.

    Args:
        config: the whole trial.
        splits: the data; its tensors are moved to the device once a process.

    Attributes:
        epoch: epochs trained so far.
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
        self.epoch = 0
        self.history: list[Row] = []
        torch.manual_seed(derive(config.seed, "weights"))
        with failures("building the model"):
            self.model: Mixer = build(config.model).to(self.device)
            self.optimizer = build_optimizer(self.model, config.optim, self.device)
        self._net: nn.Module = torch.compile(self.model) if config.train.compile else self.model  # type: ignore[assignment]
        decay = config.train.ema_decay
        self._ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        self._amp = config.train.amp and self.device.type == "cuda" and torch.cuda.is_bf16_supported()

    @property
    def evaluated(self) -> Mixer:
        """The weights that are evaluated and exported: the moving average where there is one."""
        return cast(Mixer, self._ema.module) if self._ema else self.model

    @property
    def done(self) -> bool:
        """Whether all epochs are trained."""
        return self.epoch >= self.config.train.epochs

    def step(self) -> Row:
        """Train one epoch, validate, measure.

        Returns:
            ``epoch``, ``train_loss`` and ``val_loss`` (nats), ``val_acc`` (0 to 1), ``lr`` (of the epoch's last step),
            ``images_per_s`` (training only), ``seconds`` (the whole epoch) and the model's own measures.

        Raises:
            Diverged: a loss is not finite; the trial cannot go on.
            OutOfMemory: the batch does not fit.
        """
        started = time.perf_counter()
        torch.manual_seed(derive(self.config.seed, "epoch", self.epoch))  # dropout and drop-path draw from the global generator
        generator = torch.Generator(self.device).manual_seed(derive(self.config.seed, "data", self.epoch))
        with failures(f"epoch {self.epoch + 1}"):
            self._net.train()
            train_loss = train_epoch(
                self._net, self.train_set, self.augment, self.config.optim.batch_size, generator, self._update, self._loss
            )
            trained = time.perf_counter()
            validation = self.evaluate_validation()
            measures = measure(self.evaluated, self.augment.normalize(self.val_set.images_NCHW[:_MEASURED_IMAGES]))
        if validation.loss != validation.loss:
            raise Diverged(f"epoch {self.epoch + 1}", "the validation loss must be finite, got nan", "Lower optim.lr")
        self.epoch += 1
        row: Row = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            "val_loss": validation.loss,
            "val_acc": validation.accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_s": len(self.train_set) / (trained - started),
            "seconds": time.perf_counter() - started,
            **measures,
        }
        self.history.append(row)
        return row

    def evaluate_validation(self) -> Evaluation:
        """Evaluate on the validation split."""
        return evaluate(self.evaluated, self.val_set, self.augment.normalize, self.config.train.eval_batch_size)

    def evaluate_test(self, test: ImageSet) -> Evaluation:
        """Evaluate on the test split; for finished winners only."""
        return evaluate(self.evaluated, test.to(self.device), self.augment.normalize, self.config.train.eval_batch_size)

    def save(self, folder: CheckpointFolder, metric: str = "val_acc", maximize: bool = True) -> Path:
        """Write a checkpoint of the current epoch; it is also kept as the best where ``metric`` says so.

        Raises:
            CheckpointError: it cannot be written; older checkpoints are untouched.
        """
        sign = 1 if maximize else -1
        best = all(sign * self.history[-1][metric] > sign * row[metric] for row in self.history[:-1])
        return folder.save(self.state_dict(), self.epoch, best)

    def state_dict(self) -> dict[str, Any]:
        """All that a continuation needs, in types that load without pickle."""
        return {
            "epoch": self.epoch,
            "history": self.history,
            "config": self.config.model_dump_json(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self._ema.state_dict() if self._ema else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same trial.

        Raises:
            CheckpointError: the checkpoint is of another configuration.
        """
        theirs, ours = TrialConfig.model_validate_json(state["config"]), self.config
        # More epochs or another device are the same trial going on elsewhere; anything else is another trial.
        if theirs.model_copy(update={"train": ours.train}) != ours:
            raise CheckpointError("checkpoint", "must be of the same configuration, got another one", "Remove the trial's folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._ema and state["ema"] is not None:
            self._ema.load_state_dict(state["ema"])
        self.epoch, self.history = int(state["epoch"]), list(state["history"])

    def load_newest(self, folder: CheckpointFolder) -> bool:
        """Continue from the newest readable checkpoint in ``folder``; False where there is none."""
        state = folder.load_newest()
        if state is None:
            return False
        self.load_state_dict(state)
        return True

    def _loss(self, x_BCHW: torch.Tensor, targets_BK: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._amp):
            logits_BK = self._net(x_BCHW)
        return soft_cross_entropy(logits_BK, targets_BK) + self.model.regularization()

    def _update(self, loss: torch.Tensor, step: int) -> None:
        optim, per_epoch = self.config.optim, -(-len(self.train_set) // self.config.optim.batch_size)
        rate = learning_rate(self.epoch * per_epoch + step, per_epoch, self.config.train.epochs, optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if optim.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), optim.clip_grad)
        self.optimizer.step()
        if self._ema:
            self._ema.update_parameters(self.model)
