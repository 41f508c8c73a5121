"""One long training on Ray Train: a group of ranks that may span machines, shrink, grow, and
survive preemptions.

Ray Train places and starts the ranks, and restarts them when a machine is lost. Training, saving
and resuming is done by a `JobRun`, as in a search: each rank's process runs one, rank 0 sends each
epoch's result to a `Mailbox`, and the driver reads it. Ray Train's own reports and checkpoints are
not used: they delay each epoch by seconds, and a run resumed by the same command must not depend on
an experiment's folder.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hopsearch.command_line import signals
from hopsearch.core.errors import ResourceError, StudyError
from hopsearch.jobs.job import Job, JobRun, Progress, cause
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.cluster.network_interface import RanksConfig
from hopsearch.ray_backend.workers.group import keep_to_assigned_gpus
from hopsearch.ray_backend.workers.hanging_workers import GroupWatch, is_there
from hopsearch.ray_backend.workers.spot_notice import Notice, draining, this_node

_POLL = 0.2  # seconds between two reads of the mailbox
# restarts of the group in a row without a new epoch before the training counts as failing
_BEGINNINGS = 4
# seconds between checks for more resources: to use them, Ray restarts the group in the middle of an
# epoch
_RESIZE = 900.0
_GRACE = 60.0  # seconds for ranks to save their current epoch
_PATIENCE = 60.0  # seconds without a rank before the user is informed


class Mailbox:
    """Through it, ranks report progress and are asked to stop. A threaded actor: no call blocks."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._stop = False
        self.begun = 0
        self.world = 1
        self.ranks: dict[int, Any] = {}

    def begin(self, rank: int, world: int, actor: Any) -> None:
        """A rank's process, ``actor``, has started; with the first one, the group has formed."""
        self.ranks[rank] = actor
        self.world = world
        self.begun += rank == 0

    def tell(self, progress: str) -> None:
        """`Progress` as JSON."""
        self._told.append(progress)

    def news(self, since: int) -> tuple[list[str], int, int]:
        """Messages after the first ``since``, the number of groups started, and the number of ranks
        of the newest.
        """
        return self._told[since:], self.begun, self.world

    def actors(self) -> list[object]:
        """The processes of the newest group's ranks."""
        return [actor for rank, actor in self.ranks.items() if rank < self.world]

    def ask_to_stop(self) -> None:
        """Ask the ranks to save their current state and leave."""
        self._stop = True

    def stopping(self, node: str) -> bool:
        """Whether a rank on ``node`` must leave: on request, or because the node is being
        preempted.
        """
        return self._stop or draining(node)


def run_training(
    job: Job,
    workers: tuple[int, int],
    resources: TrialResources,
    take: Callable[[Progress], None],
    say: Callable[[str], None],
    images: int,
) -> None:
    """Train ``job`` to its end on the connected cluster.

    Args:
        job: what to train; its folder must be writable from the first rank's machine.
        workers: fewest and most ranks.
        resources: of a rank.
        take: receives every progress, on this thread.
        say: receives messages about waiting.
        images: number of images that each rank reads before its first epoch.

    Raises:
        UserError: the user must act; completed epochs are saved.
        RuntimeError: the ranks end in internal errors.
        KeyboardInterrupt: re-raised, after the ranks have saved their current epoch.
    """
    here = NodeAffinitySchedulingStrategy(this_node(), soft=False)  # it lives as long as the driver
    mailbox = (
        ray.remote(Mailbox)
        .options(num_cpus=0, max_concurrency=8, scheduling_strategy=here)
        .remote()
    )
    run = _Run(mailbox, take, say, workers, GroupWatch(images))
    while not run.over:
        with tempfile.TemporaryDirectory(
            prefix="hopsearch-train-", ignore_cleanup_errors=True
        ) as scratch:
            run.follow(_fit_in_background(job, mailbox, workers, resources, scratch))


class _Run:
    """The driver's state of a running training."""

    def __init__(
        self,
        mailbox: Any,
        take: Callable[[Progress], None],
        say: Callable[[str], None],
        workers: tuple[int, int],
        watch: GroupWatch,
    ) -> None:
        self._mailbox = mailbox
        self._take = take
        self._say = say
        self._workers = workers
        self._read = self._begun = self._idle = self._epoch = 0
        self._heard = time.monotonic()
        self._watch = watch
        self._gone: Progress | None = None
        self.over = False

    def follow(self, fitting: "_Fit") -> None:
        """Read the mailbox until Ray Train's run ends."""
        try:
            while not fitting.over.wait(_POLL):
                self._look()
            self._look()
        except KeyboardInterrupt:
            signals.saving()
            ray.get(self._mailbox.ask_to_stop.remote())
            if self._begun:
                fitting.over.wait(_GRACE)
            self._look()
            raise
        if not self.over and fitting.error is not None:
            raise fitting.error

    def _look(self) -> None:
        texts, begun, world = ray.get(self._mailbox.news.remote(self._read))
        self._read += len(texts)
        if begun > self._begun:
            self._idle += begun - self._begun
            self._begun = begun
            self._heard = time.monotonic()
            self._watch.begun(world)
        told = [Progress.model_validate_json(text) for text in texts]
        for progress in told:
            self._heard = float("inf")
            self._watch.heard(progress)
            self._one(progress)
        failed = [progress for progress in told if progress.failure]
        self._gone = next((progress for progress in failed if progress.others_gone), self._gone)
        if own := [progress for progress in failed if not progress.others_gone]:
            self._fail(cause(own))
        if self._idle > _BEGINNINGS:
            self.over = True
            if self._gone:  # no rank died by itself: their communication failed
                self._fail(self._gone)
            rule = (
                f"ranks must survive an epoch, got {_BEGINNINGS} groups in a row killed before that"
            )
            raise ResourceError(
                "training",
                rule,
                "See Ray's logs for the cause; often the machine is out of memory",
            )
        if time.monotonic() - self._heard > _PATIENCE and begun == self._begun == 0:
            self._heard = float("inf")
            self._say(
                f"still waiting for room for {self._workers[0]} workers; the cluster has "
                f"{_free()} free"
            )
        if why := self._watch.hangs():
            self._watch.gone()
            self._kill(why)

    def _kill(self, why: str) -> None:
        ranks = [actor for actor in ray.get(self._mailbox.actors.remote()) if is_there(actor)]
        if ranks:  # else they were lost, and Ray Train waits for a place
            self._say(f"training: {why}; its workers are killed and it resumes from its last epoch")
        for actor in ranks:
            ray.kill(actor)

    def _one(self, progress: Progress) -> None:
        if progress.rows and int(progress.rows[-1]["epoch"]) > self._epoch:
            self._epoch = int(progress.rows[-1]["epoch"])
            self._idle = 0
        if not progress.failure:
            self._take(progress)
        self.over = self.over or progress.done
        if progress.paused:
            self._idle = 0  # its progress is saved
            self._say("checkpointed mid-epoch; resumes there")

    def _fail(self, progress: Progress) -> None:
        self.over = True
        if progress.trace:
            raise RuntimeError(f"a rank ended in an error:\n{progress.trace}")
        raise StudyError(
            "training",
            f"the training failed: {progress.reason}",
            "Completed epochs are saved",
        )


def _free() -> str:
    there = ray.available_resources()
    return f"{there.get('CPU', 0):g} CPU, {there.get('GPU', 0):g} GPU"


class _Fit:
    """Ray Train's run on a separate thread, so that the main one can show progress and be
    interrupted.
    """

    def __init__(self, trainer: TorchTrainer) -> None:
        self.error: Exception | None = None
        self._trainer = trainer
        # `Thread.join` interrupted by Ctrl-C considers the thread dead
        self.over = threading.Event()
        threading.Thread(target=self._fit, daemon=True).start()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # it is re-raised on the main thread
            self.error = error
        finally:
            self.over.set()


def _fit_in_background(
    job: Job, mailbox: Any, workers: tuple[int, int], resources: TrialResources, scratch: str
) -> _Fit:
    fewest, most = workers
    scaling = ray.train.ScalingConfig(
        num_workers=most if fewest == most else workers,
        use_gpu=resources.gpus > 0,
        resources_per_worker=resources.bundles()[0],
        elastic_resize_monitor_interval_s=_RESIZE,
    )
    run = ray.train.RunConfig(
        storage_path=scratch,
        # A lost machine is not a failure of the training; `_Run` detects whether the ranks
        # themselves fail.
        failure_config=ray.train.FailureConfig(max_failures=-1, max_preemption_failures=-1),
    )
    given = {"job": job.model_dump_json(), "mailbox": mailbox, "gpus": resources.gpus}

    # not as `train_loop_config`, which Ray shows: a job may contain a storage address with a key
    def train_rank() -> None:
        _train_rank(given)

    trainer = TorchTrainer(
        train_rank,
        scaling_config=scaling,
        run_config=run,
        torch_config=RanksConfig(backend="nccl" if resources.gpus else "gloo"),
    )
    return _Fit(trainer)


def _train_rank(config: dict[str, Any]) -> None:
    """Run by every rank: epochs until the job is done, fails, or is asked to stop."""
    mailbox = config["mailbox"]
    keep_to_assigned_gpus(config["gpus"])
    first = ray.train.get_context().get_world_rank() == 0
    work = JobRun(Job.model_validate_json(config["job"]))
    node = this_node()
    notice = Notice(lambda: bool(ray.get(mailbox.stopping.remote(node))))
    context = ray.train.get_context()
    here = ray.get_runtime_context().current_actor
    ray.get(mailbox.begin.remote(context.get_world_rank(), context.get_world_size(), here))
    while True:
        progress = work.advance(notice)
        if first or progress.failure:
            ray.get(mailbox.tell.remote(progress.model_dump_json()))
        if progress.others_gone:
            # handled by Ray Train, which restarts the group with the remaining ranks
            raise RuntimeError(progress.reason)
        if progress.done or progress.failure or progress.paused:
            return
