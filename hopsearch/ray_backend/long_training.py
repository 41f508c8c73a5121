"""One long training on Ray Train: a group of ranks that may span machines, shrink, grow, and be
taken away and come back.

Ray Train finds places, starts the ranks and starts them again when a machine is lost. What is
trained, saved and continued is a `JobRun`, as in a search: each rank's process runs one, rank 0
tells a `Mailbox` what came of each epoch, and the driver reads it. Ray Train's own reports and
checkpoints are not used: they cost each epoch a wait of seconds, and a run continued by the same
command must not depend on an experiment's folder.
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
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.cluster.interface import RanksConfig
from hopsearch.ray_backend.workers.group import keep_to_assigned_gpus
from hopsearch.ray_backend.workers.hanging_workers import GroupWatch, is_there
from hopsearch.ray_backend.workers.spot_notice import Notice, draining, this_node
from hopsearch.training.process.job import Job, JobRun, Progress, cause

_POLL = 0.2  # seconds between two looks into the mailbox
# of the group in a row without a new epoch before something in it is said to kill it
_BEGINNINGS = 4
# seconds between looks for more places: to take them, Ray starts the group anew in the middle of an
# epoch
_RESIZE = 900.0
_GRACE = 60.0  # seconds that ranks have to save the epoch they are in
_PATIENCE = 60.0  # seconds without a rank before the user is told what is waited for


class Mailbox:
    """Where the ranks tell of their progress, and learn that they are to stop. An actor, threaded:
    no one waits in it.
    """

    def __init__(self) -> None:
        self._told: list[str] = []
        self._stop = False
        self.begun, self.world = 0, 1
        self.ranks: dict[int, Any] = {}

    def begin(self, rank: int, world: int, actor: Any) -> None:
        """A rank's process, ``actor``, has started; with the first one a group has come
        together.
        """
        self.ranks[rank], self.world = actor, world
        self.begun += rank == 0

    def tell(self, progress: str) -> None:
        """`Progress` as JSON."""
        self._told.append(progress)

    def news(self, since: int) -> tuple[list[str], int, int]:
        """What was told after the first ``since``, how many groups have started, and how many ranks
        the newest has.
        """
        return self._told[since:], self.begun, self.world

    def actors(self) -> list[Any]:
        """The processes of the newest group's ranks."""
        return [actor for rank, actor in self.ranks.items() if rank < self.world]

    def ask_to_stop(self) -> None:
        """Have the ranks save what they are at and leave."""
        self._stop = True

    def stopping(self, node: str) -> bool:
        """Whether a rank on ``node`` is to leave: asked to, or the node is about to be taken
        away.
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
        job: what to train; its folder must be one that the first rank's machine can write.
        workers: fewest and most ranks.
        resources: what a rank is given.
        take: told of every progress, on this thread.
        say: told what is waited for.
        images: that each rank reads before its first epoch.

    Raises:
        UserError: the user must act; what was finished is saved.
        RuntimeError: the ranks end in errors of ours.
        KeyboardInterrupt: passed on, after the ranks have saved the epoch they are in.
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
    """What the driver knows of a training that continues elsewhere."""

    def __init__(
        self,
        mailbox: Any,
        take: Callable[[Progress], None],
        say: Callable[[str], None],
        workers: tuple[int, int],
        watch: GroupWatch,
    ) -> None:
        self._mailbox, self._take, self._say, self._workers = mailbox, take, say, workers
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
            self._begun, self._heard = begun, time.monotonic()
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
            if self._gone:  # no rank died of itself: it is their way of talking that fails
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
            self._epoch, self._idle = int(progress.rows[-1]["epoch"]), 0
        if not progress.failure:
            self._take(progress)
        self.over = self.over or progress.done
        if progress.paused:
            self._idle = 0  # what it did is saved
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
    """Ray Train's run on a thread of its own, so that the main one stays free to show progress and
    to be interrupted.
    """

    def __init__(self, trainer: TorchTrainer) -> None:
        self.error: Exception | None = None
        self._trainer = trainer
        # `Thread.join` interrupted by Ctrl-C takes the thread for dead
        self.over = threading.Event()
        threading.Thread(target=self._fit, daemon=True).start()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # it is raised again on the main thread
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
        # A lost machine is not a failure of the training; whether one comes of the ranks
        # themselves, `_Run` sees.
        failure_config=ray.train.FailureConfig(max_failures=-1, max_preemption_failures=-1),
    )
    given = {"job": job.model_dump_json(), "mailbox": mailbox, "gpus": resources.gpus}

    # not as `train_loop_config`, which Ray shows: a job may name a storage with its key
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
    """What every rank runs: epochs until the job is done, cannot continue, or is asked to stop."""
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
            # Ray Train's to fix: it starts the group again with what is left
            raise RuntimeError(progress.reason)
        if progress.done or progress.failure or progress.paused:
            return
