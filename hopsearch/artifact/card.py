"""The model card: what a reader of an exported model must know of it, and where it comes from.

Its text is in ``card_template.md``. Nothing in it is escaped as HTML, unlike in the report's page:
in the code of a Markdown file ``&lt;`` is shown as it stands, and model hubs take markup out before
they show a card. What would break a table is escaped by `_cell`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from hopsearch.artifact.folder import ModelFile
from hopsearch.core.config import flatten
from hopsearch.core.intervals import mean_recall_interval, wilson

_SOURCES = {
    "mlpmixer": "MLP-Mixer (arXiv 2105.01601)",
    "imixer": "iMixer (arXiv 2304.13061)",
    "vanillamixer": "VanillaMixer (arXiv 2406.12220)",
    "paramixer": "ParaMixer (arXiv 2406.12220)",
    "symmixer": "SymMixer (arXiv 2406.12220)",
    "asymmixer": "AsymMixer (arXiv 2406.12220)",
}

_OF_MODEL = ("n_params", "flops")
_CLASSES = 20  # most classes whose recall the card lists


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        study: name of the study.
        trial: the trial's number.
        seed: the study's seed.
        results: ``val_acc``, ``test_acc``, ``by_class``, … as far as they are known; ``epoch`` of
            the weights, ``epochs`` trained.
        data: source, split and fingerprint.
        images: how many there are to train on, to search on, and for the test.
        cost: of the model: ``n_params``, ``flops``; of its training: ``seconds``, of the search:
            ``search_epochs``, ….
        origin: versions, code revision, command.
        verdicts: what must be said of the results, a sentence each.
    """

    study: str
    trial: int
    seed: int
    results: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    cost: Mapping[str, object] = field(default_factory=dict)
    origin: Mapping[str, object] = field(default_factory=dict)
    verdicts: Sequence[str] = ()


def model_card(provenance: Provenance, about: ModelFile, onnx: bool = False) -> str:
    """The card in Markdown, with the header that model hubs read.

    Args:
        provenance: where the model comes from.
        about: its ``config.json``.
        onnx: whether it is an ONNX file.
    """
    trial = about["hopsearch"]["trial"]
    model = about["hopsearch"]["model"]
    recipe = flatten({section: trial[section] for section in ("optim", "augment", "train")})
    classes = about["pretrained_cfg"]["label_names"]
    channels, size, _ = about["pretrained_cfg"]["input_size"]
    costs = {name: provenance.cost[name] for name in _OF_MODEL if name in provenance.cost}
    images = {f"images, {part}": count for part, count in provenance.images.items()}
    # Markdown, not HTML: see the top of this file.
    environment = Environment(
        autoescape=False,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    text = (resources.files("hopsearch.artifact") / "card_template.md").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        study=provenance.study,
        trial=provenance.trial,
        family=_SOURCES[str(model["family"])],
        version=provenance.origin.get("hopsearch", ""),
        results=[_result(provenance, *part) for part in (("validation", "val"), ("test", "test"))],
        test_read="test_acc" in provenance.results,
        test_reads=provenance.results.get("test_reads"),
        verdicts=provenance.verdicts,
        recalls=_recalls(provenance, classes),
        most=_CLASSES,
        onnx=onnx,
        channels=channels,
        size=size,
        folded=about["hopsearch"]["folded"],
        model=model | costs,
        data={"test part": "", **provenance.data},
        about_data={**provenance.data, **images},
        classes=classes,
        recipe=recipe,
        history=_history(provenance, trial),
    )


def _result(provenance: Provenance, name: str, part: str) -> list[object]:
    """A row of the table of accuracies."""
    results = provenance.results
    known = provenance.results.get("by_class", {}).get(part)
    accuracy, balanced, loss = (
        results.get(f"{part}_{metric}") for metric in ("acc", "balanced_acc", "loss")
    )
    images = sum(known["images"]) if known else provenance.images.get(part)
    if accuracy is None:
        return [name, images or "", "not read", "", "", "", ""]
    return [
        name,
        images or "",
        f"{accuracy:.4f}",
        wilson(accuracy, images) if images else "",
        "" if balanced is None else f"{balanced:.4f}",
        mean_recall_interval(known["hits"], known["images"]) if known else "",
        "" if loss is None else f"{loss:.4f}",
    ]


def _recalls(provenance: Provenance, classes: Sequence[str]) -> list[tuple[object, ...]]:
    """Recall, images, name and interval of each class of the test split, the worst first."""
    test = provenance.results.get("by_class", {}).get("test")
    if not test:
        return []
    rows = sorted(
        (hits / images, images, name)
        for name, hits, images in zip(classes, test["hits"], test["images"], strict=False)
        if images
    )
    return [(*row, wilson(row[0], row[1])) for row in rows]


def _history(provenance: Provenance, trial: Mapping[str, object]) -> dict[str, object]:
    seeds = {"seed of the study": provenance.seed, "seed of the trial": trial["seed"]}
    trained = {
        f"{name} {what}": provenance.results[key]
        for key, name, what in (
            ("epochs", "epochs", "trained"),
            ("epoch", "epoch", "of the weights"),
        )
        if key in provenance.results
    }
    cost = {name: value for name, value in provenance.cost.items() if name not in _OF_MODEL}
    return seeds | trained | cost | dict(provenance.origin)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
