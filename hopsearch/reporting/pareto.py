"""The Pareto front: trials that no other trial beats in every objective."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[int, Sequence[float]]], signs: Sequence[int]) -> list[int]:
    """The numbers of the points that are not dominated, in the order given.

    A point dominates another if it is nowhere worse and somewhere better; equal points are all
    kept.

    Args:
        points: (trial number, one value per metric).
        signs: one per metric: 1 if larger is better, -1 if smaller is.
    """
    oriented = [
        (tuple(sign * value for sign, value in zip(signs, values, strict=True)), number)
        for number, values in points
    ]
    front: list[tuple[tuple[float, ...], int]] = []
    # In descending order, a point can only be dominated by an earlier one, and then by one of the
    # front.
    for values, number in sorted(oriented, reverse=True):
        if not any(
            other != values and all(map(float.__ge__, map(float, other), map(float, values)))
            for other, _ in front
        ):
            front.append((values, number))
    kept = {number for _, number in front}
    return [number for number, _ in points if number in kept]
