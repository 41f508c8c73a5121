"""``python -m hopsearch.doctor <file> [key=value …]``: check a cluster file offline, before it
costs money.

    python -m hopsearch.doctor cluster/aws.yaml
    python -m hopsearch.doctor cluster/aws.yaml trial.gpus=2

Settings below trial. are the resources of trials. Exit code 0: no problems found; 2: problems, each
with its remedy.
"""

from hopsearch.command_line import manual, utf8

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("doctor")  # before the imports: they take seconds

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from hopsearch.cluster_check.checks import examine, unchecked
from hopsearch.cluster_check.file import read_cluster_file
from hopsearch.cluster_check.prices import REGIONS, SOURCE, most_per_hour
from hopsearch.command_line.command import run_as_program
from hopsearch.command_line.words import read_words
from hopsearch.core.config import Settings, parse
from hopsearch.core.errors import ConfigError


class TrialNeeds(Settings):
    """The resources of a trial's worker on the cluster."""

    cpus: float = Field(default=1, gt=0)
    """CPU cores of a worker."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of a worker; by default 1 on a cloud."""


class DoctorConfig(Settings):
    """A check of a cluster file."""

    file: Path
    """The cluster file."""
    trial: TrialNeeds = TrialNeeds()
    """The resources of trials."""


def main(words: Sequence[str]) -> None:
    """Read the command line, check, print.

    Raises:
        ConfigError: the file has problems; the message lists them all.
    """
    named = [word if "=" in word else f"file={word}" for word in words]
    config = parse(DoctorConfig, read_words(named, DoctorConfig), "command line")
    gpus = 1.0 if config.trial.gpus is None else config.trial.gpus
    file = read_cluster_file(config.file, (config.trial.cpus, gpus))
    findings = examine(file)
    if not any(finding.structural for finding in findings):
        dollars, unknown = most_per_hour(file)
        if dollars:
            print(
                f"{config.file}: up to ${dollars:.2f}/hour at on-demand prices in "
                f"{', '.join(REGIONS)} ({SOURCE})"
            )
        if unknown:
            print(f"{config.file}: no price is known for {', '.join(unknown)}")
    for sentence in unchecked(file):
        print(f"{config.file}: {sentence}")
    if findings:
        count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
        raise ConfigError(str(config.file), "\n  ".join([count, *map(str, findings)]))
    print(f"{config.file}: no problems found (offline checks)")


if __name__ == "__main__":
    run_as_program(main, DoctorConfig, __doc__ or "")
