"""The best use of the end of a search: the trial that is ahead at the rungs trains to full epochs
while the budget is enough.

A new trial that is begun then cannot come to full epochs any more, and the best would wait for
rivals that cannot either. Only the best goes on: sent on with all workers, those that wait at the
highest rung took a fifth of the epochs, were hardly ever the winner in the end, and cost the search
new trials that were (``benchmarks/results/outside_quality.md`` has the figures).
"""

import itertools

from hopsearch.space import Fidelity
from hopsearch.study.stopping.fronts import Values, dominates
from hopsearch.study.stopping.rung_values import Evidence


def finalist(evidence: Evidence, fidelity: Fidelity, reach: int) -> tuple[int, int] | None:
    """The (trial, epoch) that is to go on from its pause to full epochs, if there is one.

    It is better than all that ever came to a rung, by what each had at its highest one below full
    epochs (what those that are complete had at the end is not compared with what others have before
    it); with several objectives none beats it. It goes on as soon as nobody could get there any
    more who is a rung lower, be it a new trial. Not earlier: until then the rule may find a better
    one. And only if as many have come to its rung as successive halving compares there for one full
    training: a search with a small budget is not spent on its first trials for want of rivals.

    Args:
        evidence: all that came.
        fidelity: of the study.
        reach: epochs that a worker which is free now can still train.
    """
    last, best, able = (
        fidelity.max_epochs,
        dict[int, Values](),
        list[tuple[Values, int, int, int]](),
    )
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
    due, compared = reach < last - below, len(evidence.rung(epoch)) * epoch >= last
    return (number, epoch) if due and compared else None
