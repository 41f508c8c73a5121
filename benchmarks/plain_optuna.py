"""Optuna alone, as one would write it: TPE and `SuccessiveHalvingPruner`; one process a core, all
on one journal.

python benchmarks/plain_optuna.py <file of a Task> <journal> <number of the process, from 0>
"""

import sys

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from plain_training import Task

from hopsearch.core.errors import TrialFailure


def main(file: str, journal: str, process: str) -> None:
    task = Task.read(file)
    fidelity = task.space.fidelity

    def objective(trial: optuna.Trial) -> float:
        run = task.training(task.suggested(trial), seed=trial.number)
        while True:
            value = run.step()["val_acc"]
            trial.report(value, run.epoch)
            if run.done:
                return value
            if trial.should_prune():
                raise optuna.TrialPruned

    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(journal)),
        study_name="plain",
        sampler=TPESampler(seed=1000 * task.seed + int(process)),
        pruner=SuccessiveHalvingPruner(
            min_resource=fidelity.min_epochs, reduction_factor=fidelity.reduction
        ),
        direction="maximize",
        load_if_exists=True,
    )
    if process == "0":
        for point in task.points:
            study.enqueue_trial(point)
    study.optimize(objective, n_trials=task.trials, catch=TrialFailure)


if __name__ == "__main__":
    main(*sys.argv[1:])
