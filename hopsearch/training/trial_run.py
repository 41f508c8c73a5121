"""One trial as plain torch: it runs in a debugger, in a test, in a warm worker, and as a rank of a
distributed training. What it trains, a task says (`hopsearch.tasks`).
"""

import contextlib
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from torch import nn

from hopsearch.core.errors import CheckpointError
from hopsearch.core.seeds import derive
from hopsearch.data import epoch_batches
from hopsearch.training import run_checks
from hopsearch.training.average import MovingAverage
from hopsearch.training.checkpoint import CheckpointFolder, TrialState
from hopsearch.training.device import pick_device
from hopsearch.training.optimizer import build_optimizer
from hopsearch.training.precision import Precision
from hopsearch.training.process_ranks import Ranks
from hopsearch.training.schedule import learning_rate
from hopsearch.training.trial_config import TrialConfig

Row = dict[str, float]
"""The metrics of one epoch by name; ``epoch`` counts from 1."""

# What a trial of some kind gives may be of a narrower kind, what it takes of a wider one.
ConfigT = TypeVar("ConfigT", bound=TrialConfig, covariant=True)
ModelT = TypeVar("ModelT", bound=nn.Module, covariant=True)
DataT = TypeVar("DataT", contravariant=True)

# Reading a loss waits for the device, and for the other ranks: look at every step only where that
# is free.
_CHECK_EVERY = {"cpu": 1, "cuda": 50}
_ASK_EVERY = 20  # steps between two looks at whether to stop


class Paused(Exception):  # noqa: N818  # not an error: the training is asked to stop here, to be saved and to go on elsewhere
    """An epoch was left between two steps; the state at that step can be saved."""


class TrialRun(ABC, Generic[ConfigT, ModelT, DataT]):
    """Build, `step` an epoch at a time, `save` and `load` at any epoch.

    All randomness of a step follows from (seed, epoch, step, rank), so a checkpoint holds no
    generator state, and save → load → continue gives the same curve as no interruption: bit for bit
    on a CPU with the same number of threads.

    Where torch.distributed is in use, every rank makes the same `TrialRun` and calls the same
    methods: batches and validation are shared out, gradients and metrics are those of the whole.

    A task's own trial says what is trained: `prepare`, `build`, `loss`, `validate`, `test`,
    `example`. The rest is the same for all.

    Args:
        config: the whole trial.
        data: what it is trained on; see `prepare`.

    Attributes:
        epoch: epochs trained so far.
        position: optimizer steps of the next epoch that are trained already; 0 unless it was
            paused.
        ranks: who trains.
        history: one `Row` an epoch, from the first.
        model: the weights that are trained.
        net: the same as it is called in training: compiled, or shared out over ranks.
        n_train: items of an epoch, as `prepare` counted them.
        index_device: where the indices of a batch are wanted.
        generator: randomness of a step, beside torch's global generator; seeded before each step.

    Raises:
        ResourceError: a GPU is asked for and there is none.
        OutOfMemory: the model does not fit.
    """

    throughput = "items_per_s"
    """The name of the training speed in a row."""
    n_train: int
    index_device: torch.device

    def __init__(self, config: ConfigT, data: DataT) -> None:
        self.config = config
        self.device = pick_device(config.train.device)
        self.index_device = self.device
        self._owner = type(self).__name__  # for errors: whose methods are asked
        self.prepare(data)
        run_checks.require_items(getattr(self, "n_train", None), self._owner)
        self.ranks = Ranks()
        self.epoch = 0
        self.position = 0
        self.history: list[Row] = []
        self._loss_sum = torch.zeros((), device=self.device)
        self.generator = torch.Generator(self.device)
        torch.manual_seed(derive(config.seed, "weights"))
        with run_checks.failures("building the model"):
            model = self.build()
            run_checks.require_model(model, self._owner)
            self.model: ModelT = model.to(self.device)
            self.optimizer = build_optimizer(self.model, config.optim, self.device)
        called: nn.Module = self.model
        if config.train.compile:
            called = cast(nn.Module, torch.compile(self.model))
        self.net = self.ranks.wrap(called)
        decay = config.train.ema_decay
        self._ema = MovingAverage(self.model, decay) if decay else None
        self._precision = Precision(config.train, self.device)

    @abstractmethod
    def prepare(self, data: DataT) -> None:
        """Take what is needed of the data, and set `n_train`. Before the model is built."""

    @abstractmethod
    def build(self) -> ModelT:
        """A new model, its weights drawn from torch's global generator."""

    @abstractmethod
    def loss(self, index_M: torch.Tensor, share: float, first: bool) -> torch.Tensor:
        """The mean loss of `net` over these training items.

        Args:
            index_M: numbers below `n_train`.
            share: how much of the step's batch they are, 0 to 1.
            first: whether they are the first of a step; a batch that is accumulated has more.
        """

    @abstractmethod
    def validate(self) -> Row:
        """The task's metrics of `evaluated` on the validation split, by name (``val_…``); other
        numbers of the same pass may stand beside them. The model is in evaluation mode; gradients
        are on, for a model that needs them to evaluate: others save memory with
        ``@torch.inference_mode()``.
        """

    @abstractmethod
    def test(self, data: DataT) -> Row:
        """The same metrics of the test split (``test_…``); for finished winners only."""

    @abstractmethod
    def example(self, count: int) -> torch.Tensor:
        """Inputs of so many validation items, ready for the model."""

    def measure(self) -> Row:
        """What else an epoch reports of `evaluated`: nothing, unless a task says so."""
        return {}

    def results(self, data: DataT) -> Mapping[str, object]:
        """What is kept of a finished winner, as plain JSON; called in `evaluating`, and only once,
        for it reads the test split.
        """
        validated = run_checks.numbers(self.validate(), f"{self._owner}.validate()")
        return validated | run_checks.numbers(self.test(data), f"{self._owner}.test()")

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """The context in which a trial is evaluated: see `run_checks.evaluating`."""
        return run_checks.evaluating(self.net, self.evaluated)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which `loss` calls `net`: see ``train.amp``."""
        return self._precision.autocast()

    @property
    def evaluated(self) -> ModelT:
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
            ``epoch``, ``train_loss``, what `validate` gives, ``lr`` (of the epoch's last step),
            ``peak_lr`` (of the whole schedule, scaled to the batch), `throughput` (training only),
            ``seconds`` (the whole epoch) and what `measure` gives.

        Raises:
            Diverged: a loss or a metric is not finite; the trial cannot go on.
            OutOfMemory: the batch does not fit.
            Paused: ``stop`` said so.
        """
        started = time.perf_counter()
        begun_at = self.position
        with run_checks.failures(f"epoch {self.epoch + 1}"):
            self.net.train()
            train_loss = self._train_epoch(stop)
            if self._ema:
                self._ema.settle()
            trained = time.perf_counter()
            with self.evaluating():
                validated = run_checks.numbers(self.validate(), f"{self._owner}.validate()")
                measures = run_checks.numbers(self.measure(), f"{self._owner}.measure()")
        run_checks.require_all_finite(validated | measures, f"epoch {self.epoch + 1}")
        items = max(0, self._items - begun_at * self.config.optim.batch_size)
        self.epoch += 1
        self.position = 0
        self._loss_sum = torch.zeros((), device=self.device)
        row: Row = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            **validated,
            "lr": self.optimizer.param_groups[0]["lr"],
            "peak_lr": self.config.optim.peak_lr,
            self.throughput: items / (trained - started),
            "seconds": time.perf_counter() - started,
            **measures,
        }
        self.history.append(row)
        return row

    @property
    def _items(self) -> int:
        # Items that an epoch trains on.
        size = self.config.optim.batch_size
        return self.n_train // size * size if self.config.optim.drop_last else self.n_train

    def save(self, folder: CheckpointFolder, metric: str, maximize: bool = True) -> Path:
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

    def state_dict(self) -> TrialState:
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

    def load_state_dict(self, state: TrialState) -> None:
        """Continue from a checkpoint of the same trial.

        Raises:
            CheckpointError: the checkpoint is of another configuration.
        """
        theirs = type(self.config).model_validate_json(state["config"])
        ours = self.config
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
        self.epoch = int(state["epoch"])
        self.history = list(state["history"])
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
        """Seconds of one item's forward pass on the trial's device: the median of ``repeats``,
        after two to warm up.
        """
        net = self.evaluated
        inputs = self.example(1)
        times = []
        with self.evaluating():
            for _ in range(repeats + 2):
                started = time.perf_counter()
                net(inputs)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                times.append(time.perf_counter() - started)
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
                run_checks.require_finite(self.ranks.sum(self._loss_sum.clone()), step)
            if (
                stop
                and (self.position % _ASK_EVERY == 0 or self.position == len(batches))
                and self._agreed(stop())
            ):
                self._loss_sum = self.ranks.sum(self._loss_sum)
                raise Paused
        total = self.ranks.sum(self._loss_sum)
        run_checks.require_finite(total, self.position)
        return float(total) / sum(map(len, batches))

    def _batches(self, order: torch.Generator) -> list[torch.Tensor]:
        optim = self.config.optim
        return list(
            epoch_batches(
                self.n_train, optim.batch_size, order, optim.drop_last, device=self.index_device
            )
        )

    def _agreed(self, stop: bool) -> bool:
        # One rank knows by itself: nothing to wait for, no word from the device.
        if self.ranks.world == 1:
            return stop
        return bool(self.ranks.sum(torch.tensor(float(stop), device=self.device)))

    def _train_step(self, index_B: torch.Tensor, step: int, steps: int) -> torch.Tensor:
        # Returns the sum of the loss over this rank's items.
        config = self.config
        ranks = self.ranks
        # dropout and drop-path draw from the global generator
        for seed in (torch.manual_seed, self.generator.manual_seed):
            seed(derive(config.seed, "step", self.epoch, step, ranks.rank))
        mine_B = index_B[ranks.share(len(index_B))]
        # A rank without an item goes through the motions for one of weight 0: the others wait for
        # its gradients.
        parts = (
            mine_B.split(config.train.micro_batch or len(mine_B)) if len(mine_B) else (index_B[:1],)
        )
        total = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for part, index_M in enumerate(parts):
            with ranks.apart(self.net) if part < len(parts) - 1 else contextlib.nullcontext():
                loss = self.loss(index_M, len(index_M) / len(index_B), first=part == 0)
                run_checks.require_loss(loss, self._owner)
                items = len(index_M) if len(mine_B) else 0
                # ranks are averaged, so that items count alike wherever they are
                weight = items * ranks.world / len(index_B)
                self._precision.backward(loss if weight == 1 else loss * weight)
                total += loss.detach() * items
        self._update(self.epoch * steps + step, steps)
        return total

    def _update(self, step: int, steps_per_epoch: int) -> None:
        optim = self.config.optim
        rate = learning_rate(step, steps_per_epoch, self.config.train.epochs, optim)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._precision.step(self.optimizer, self.model, optim.clip_grad)
        if self._ema:
            self._ema.update(self.model)
