"""Use of the end of a search: the trial that is ahead at the rungs trains to full epochs while the
budget still suffices.

A new trial started then cannot reach full epochs any more, and the best would wait for competitors
that cannot either. Only the best continues: when all workers continued the trials paused at the
highest rung, these took a fifth of the epochs, were hardly ever the winner, and displaced new
trials that were (``benchmarks/results/outside_quality.md`` has the figures).
"""

import itertools

from hopsearch.space import Fidelity
from hopsearch.study.stopping.fronts import Values, dominates
from hopsearch.study.stopping.rung_values import Evidence


def finalist(evidence: Evidence, fidelity: Fidelity, reach: int) -> tuple[int, int] | None:
    """The (trial, epoch) that should continue from its pause to full epochs, if any.

    It is better than all trials that ever reached a rung, by the value of each at its highest rung
    below full epochs (final values of complete trials are not compared with intermediate ones);
    with several objectives none dominates it. It continues as soon as no trial a rung lower, or
    new, could still reach full epochs; not earlier, since until then the rule may find a better
    one. And only if as many trials have reached its rung as successive halving compares there for
    one full training, so that a small budget is not spent on the first trials for lack of
    competitors.

    Args:
        evidence: of all decisions so far.
        fidelity: of the study.
        reach: epochs that a currently free worker can still train.
    """
    last = fidelity.max_epochs
    best = dict[int, Values]()
    able = list[tuple[Values, int, int, int]]()
    if reach >= last:
        return None
    for below, epoch in itertools.pairwise([0, *fidelity.rungs[:-1]]):
        rung = evidence.rung(epoch)
        best |= rung.values
        first = rung.first_waiting()
        if first is not None and last - epoch <= reach:
            able.append((rung.values[first[0]], epoch, below, first[0]))
    leading = [one for one in able if not any(dominates(other, one[0]) for other in best.values())]
    if not leading:
        return None
    _, epoch, below, number = max(leading)
    due = reach < last - below
    compared = len(evidence.rung(epoch)) * epoch >= last
    return (number, epoch) if due and compared else None
