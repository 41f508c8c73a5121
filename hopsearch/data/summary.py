"""A short summary of a data set, printed by every verb that reads one."""

from pathlib import Path

from hopsearch.data.files.dataset_config import DataConfig, DataFacts
from hopsearch.data.files.listed_parts import Source
from hopsearch.data.folders.split_names import normal

_SHOWN = 8  # class names


def summary(config: DataConfig, source: Source, facts: DataFacts) -> tuple[str, ...]:
    """The lines, without warnings about duplicate images."""
    names = ", ".join(facts.classes[:_SHOWN]) + (", …" if len(facts.classes) > _SHOWN else "")
    total = facts.n_train + facts.n_val + facts.n_test
    largest = max(range(len(facts.classes)), key=lambda label: facts.train_by_class[label])
    share = facts.train_by_class[largest] / facts.n_train
    colours = "RGB" if facts.channels == 3 else "grey"
    lines = [
        f"data {config.source}: {total:,} images, {len(facts.classes)} classes ({names}), "
        f"{facts.image_size} × {facts.image_size} px, {colours}",
        f"  training {facts.n_train:,}{_from(source, 'train')}; validation "
        f"{facts.n_val:,}{_val(config, source)}; "
        f"test {facts.n_test:,}{_test(config, source)}",
        f"  largest class: {facts.classes[largest]}, {share:.0%} of the training images",
    ]
    lines += [f"  {note}" for note in (*source.found.notes, *_unused(config, source))]
    if source.found.passed_over:
        lines.append(f"  ignored: {source.found.passed_over}")
    return tuple(lines)


def part_words(config: DataConfig, source: Source) -> dict[str, str]:
    """The origin of the validation and test images, to interpret accuracies; without paths."""
    words = {}
    for part, given, fraction in (
        ("val", source.val, config.val_fraction),
        ("test", source.test, config.test_fraction),
    ):
        name = "validation part" if part == "val" else "test part"
        if given:
            words[name] = (
                f"folder {normal(Path(source.found.where[part]).name)}"
                if part in source.found.where
                else "the data set's own"
            )
        else:
            whole = (
                "all images"
                if part == "test" and not source.found.where.get("train")
                else "the training images"
            )
            words[name] = f"{fraction:.0%} cut off {whole} by split_seed"
    return words


def _from(source: Source, part: str) -> str:
    where = source.found.where.get(part, "")
    return f" ({where})" if where else ""


def _val(config: DataConfig, source: Source) -> str:
    if source.val:
        return _from(source, "val")
    return (
        f" ({config.val_fraction:.0%} cut off "
        f"{source.found.where.get('train') or 'the training images'} by data.split_seed)"
    )


def _test(config: DataConfig, source: Source) -> str:
    if source.test:
        return _from(source, "test") or " (the data set's own)"
    if not source.found.where:
        return f" ({config.test_fraction:.0%} cut off all images by data.split_seed)"
    where = source.found.where.get("train") or "all images"
    return (
        f" ({config.test_fraction:.0%} cut off {where} by data.split_seed: there is no test folder)"
    )


def _unused(config: DataConfig, source: Source) -> list[str]:
    """Settings given by the user that have no effect."""
    given = {"val_fraction": source.val, "test_fraction": source.test}
    return [
        f"data.{name} has no effect: that split is a folder"
        for name, part in given.items()
        if part and name in config.model_fields_set
    ]
