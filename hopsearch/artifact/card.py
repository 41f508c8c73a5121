"""The model card: what a reader of an exported model must know of it, and where it comes from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        cost: of the model: ``params``, ``flops``; of its training: ``seconds``, of the search:
            ``search_epochs``, ….
        origin: versions, code revision, command.
        verdicts: what must be said of the results, a sentence each.
    """

    study: str
    trial: int
    seed: int
    results: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    verdicts: Sequence[str] = ()


def model_card(provenance: Provenance, about: Mapping[str, Any], onnx: bool = False) -> str:
    """The card in Markdown, with the header that model hubs read.

    Args:
        provenance: where the model comes from.
        about: its ``config.json``.
        onnx: whether it is an ONNX file.
    """
    trial = about["hopsearch"]["trial"]
    model = about["hopsearch"]["model"]
    recipe = flatten({section: trial[section] for section in ("optim", "augment", "train")})
    parts = [
        (
            "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags: "
            "[image-classification, hopsearch]\n---"
        ),
        f"# {provenance.study}, trial {provenance.trial}",
        (
            f"{_SOURCES[model['family']]}, found and trained by hopsearch "
            f"{provenance.origin.get('hopsearch', '')}"
        ).rstrip()
        + ".",
        "## Results\n\n" + _results(provenance, about["pretrained_cfg"]["label_names"]),
        "## Use\n\n" + (_use_onnx(about) if onnx else _use(about)),
        "## Model\n\n"
        + _table(
            model
            | {
                name: provenance.cost[name]
                for name in ("params", "flops")
                if name in provenance.cost
            }
        ),
        "## Data\n\n"
        + _table(
            {
                **provenance.data,
                **{f"images, {part}": count for part, count in provenance.images.items()},
            }
        ),
        "Classes, in the order of the logits: " + _listed(about["pretrained_cfg"]["label_names"]),
        "## Recipe\n\n"
        + _table({name: value for name, value in recipe.items() if value is not None}),
        "## Seeds, cost, code\n\n" + _table(_history(provenance, trial)),
    ]
    return "\n\n".join(parts) + "\n"


def _results(provenance: Provenance, classes: Sequence[str]) -> str:
    known = provenance.results.get("by_class", {})
    lines = [
        "| split | images | accuracy | 95 % interval | balanced accuracy | 95 % interval | loss |",
        "|---|---|---|---|---|---|---|",
        _result(provenance, "validation", "val"),
        _result(provenance, "test", "test"),
    ]
    note = (
        "The validation split selected the model and its epoch, so its accuracy is slightly "
        "optimistic."
    )
    reads = provenance.results.get("test_reads")
    if "test_acc" in provenance.results:
        note += (
            f" The test split was read once for each of {reads} winner(s)."
            if reads
            else " The test split was read once."
        )
    if part := provenance.data.get("test split"):
        note += f" The test split is: {part}."
    note += " Intervals are Wilson's; balanced accuracy is the mean recall over classes."
    parts = ["\n".join(lines), note, *provenance.verdicts]
    return "\n\n".join([*parts, *([_recalls(known["test"], classes)] if "test" in known else [])])


def _result(provenance: Provenance, name: str, part: str) -> str:
    results, known = provenance.results, provenance.results.get("by_class", {}).get(part)
    accuracy, balanced, loss = (
        results.get(f"{part}_{metric}") for metric in ("acc", "balanced_acc", "loss")
    )
    images = sum(known["images"]) if known else provenance.images.get(part)
    if accuracy is None:
        return f"| {name} | {images or ''} | not read | | | | |"
    cells = [name, images or "", f"{accuracy:.4f}", wilson(accuracy, images) if images else ""]
    cells += ["" if balanced is None else f"{balanced:.4f}"]
    cells += [
        mean_recall_interval(known["hits"], known["images"]) if known else "",
        "" if loss is None else f"{loss:.4f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _recalls(test: Mapping[str, Any], classes: Sequence[str]) -> str:
    rows = [
        (hits / images, images, name)
        for name, hits, images in zip(classes, test["hits"], test["images"], strict=False)
        if images
    ]
    lines = [
        f"| {_cell(name)} | {images} | {recall:.4f} | {wilson(recall, images)} |"
        for recall, images, name in sorted(rows)
    ]
    more = f" ({_CLASSES} of {len(lines)} classes)" if len(lines) > _CLASSES else ""
    head = f"Recall per class on the test split, worst first{more}:"
    return "\n".join(
        [
            head,
            "",
            "| class | images | recall | 95 % interval |",
            "|---|---|---|---|",
            *lines[:_CLASSES],
        ]
    )


def _use(about: Mapping[str, Any]) -> str:
    channels, size, _ = about["pretrained_cfg"]["input_size"]
    folded = (
        "\n\nSpectral norms are folded into the weights: if trained further, the model no longer "
        "normalises them."
    )
    return (
        "```python\nimport sys; sys.path.insert(0, FOLDER)   # this folder\n"
        "import modeling, timm                    # modeling.py is next to this card and needs "
        "only torch\n"
        'model = timm.create_model(f"local-dir:{FOLDER}", pretrained=True).eval()   # or '
        "modeling.load(FOLDER)\n"
        f"logits = model(pixels / 127.5 - 1)       # pixels: uint8 as float, (B, {channels}, "
        f"{size}, {size})\n```\n\n"
        "With hopsearch: `hopsearch.load(FOLDER)`, or `python -m hopsearch.predict model=FOLDER "
        "photo.png`." + (folded if about["hopsearch"]["folded"] else "")
    )


def _use_onnx(about: Mapping[str, Any]) -> str:
    channels, size, _ = about["pretrained_cfg"]["input_size"]
    return (
        "```python\nimport json, onnxruntime\n"
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        f"# pixels: uint8, (B, {channels}, {size}, {size})\n"
        '(logits,) = session.run(["logits"], {"images": pixels.astype("float32") / 127.5 - 1})\n'
        "about = session.get_modelmeta().custom_metadata_map   # classes and preprocessing, as "
        "JSON\n"
        'classes = json.loads(about["classes"])\n```\n\n'
        "With hopsearch: `python -m hopsearch.predict model=FOLDER photo.png`, or "
        "`model=model.onnx`."
    )


def _history(provenance: Provenance, trial: Mapping[str, Any]) -> dict[str, Any]:
    seeds = {"seed of the study": provenance.seed, "seed of the trial": trial["seed"]}
    trained = {
        f"{name} {what}": provenance.results[key]
        for key, name, what in (
            ("epochs", "epochs", "trained"),
            ("epoch", "epoch", "of the weights"),
        )
        if key in provenance.results
    }
    cost = {
        name: value for name, value in provenance.cost.items() if name not in ("params", "flops")
    }
    return seeds | trained | cost | dict(provenance.origin)


def _table(rows: Mapping[str, Any]) -> str:
    lines = [
        f"| {name} | {_cell(value)} |" for name, value in rows.items() if value not in ("", None)
    ]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown}." if len(names) <= 20 else f"{shown}, … ({len(names)}; all in `config.json`)."
