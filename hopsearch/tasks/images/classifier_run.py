"""One training of a classifier of images.

Shapes: B = batch, M = images taken through the model at once, C = colour channels, H/W = height and
width, K = classes.
"""

import torch

from hopsearch.data import Augment, ImageSet, Splits
from hopsearch.models import Mixer, build, measure
from hopsearch.tasks.images.class_imbalance import class_weights, confusions, recall_row, results_of
from hopsearch.tasks.images.classifier_config import ImageTrialConfig
from hopsearch.tasks.images.evaluation import Evaluation, evaluate, soft_cross_entropy
from hopsearch.training.trial_run import Row, TrialRun

# a fixed slice of the validation split is enough for the measures and costs one small forward pass
_MEASURED_IMAGES = 64


class ImageTrialRun(TrialRun[ImageTrialConfig, Mixer, Splits]):
    """A mixer that learns to classify images; see `TrialRun`.

    Args:
        config: the whole trial.
        data: training and validation images; moved to the device once a process.

    Attributes:
        facts: what is known of the data.
        train_set, val_set: the images, on the device.
        augment: what is done to the images of a batch.
    """

    throughput = "images_per_s"

    def prepare(self, data: Splits) -> None:
        """Move the images to the device, and count the classes for their weights."""
        self.facts = data.facts
        self.train_set = data.train.to(self.device)
        self.val_set = data.val.to(self.device)
        self.n_train = len(self.train_set)
        self.index_device = self.train_set.index_device
        self.augment = Augment(self.config.augment, data.facts)
        self._weights_K = class_weights(
            self.train_set.labels_N, self.config.model.classes, self.config.train.class_weights
        )

    def build(self) -> Mixer:
        """The family's model."""
        model = build(self.config.model)
        model.set_grad_checkpointing(self.config.train.grad_checkpointing)
        return model

    def loss(self, index_M: torch.Tensor, share: float, first: bool) -> torch.Tensor:
        """Cross-entropy of augmented images, with what the model adds to it."""
        self.model.norms_held = not first
        images_BCHW, labels_B = self.train_set.batch(index_M)
        x_BCHW, targets_BK = self.augment(images_BCHW, labels_B, self.generator, share)
        with self.autocast():
            logits_BK = self.net(x_BCHW)
        return (
            soft_cross_entropy(logits_BK, targets_BK, self._weights_K) + self.model.regularization()
        )

    def validate(self) -> Row:
        """`METRICS`, and ``recall/<class>`` of up to `MOST_CLASSES` classes."""
        validation = self.evaluate_validation()
        return {
            "val_loss": validation.loss,
            "val_acc": validation.accuracy,
            **recall_row(validation, self.facts.classes),
        }

    def test(self, data: Splits) -> Row:
        """``test_acc``, ``test_balanced_acc``, ``test_loss``."""
        return results_of("test", self.evaluate_test(data.read_test()))

    def results(self, data: Splits) -> dict[str, object]:
        """Accuracies and losses of both splits, ``by_class`` (``hits`` and ``images`` of each, a
        number per class) and ``confusions`` of the test split (true class, predicted class,
        images).
        """
        held_out = data.read_test()
        validation = self.evaluate_validation()
        test = self.evaluate_test(held_out)
        return {
            **results_of("val", validation),
            **results_of("test", test),
            "by_class": {
                part: {"hits": each.hits, "images": each.images}
                for part, each in (("val", validation), ("test", test))
            },
            "confusions": confusions(held_out.labels_N.to(test.said_N.device), test.said_N),
        }

    def measure(self) -> Row:
        """The model's own measures, on the first validation images."""
        return measure(self.evaluated, self.example(_MEASURED_IMAGES))

    def example(self, count: int) -> torch.Tensor:
        """The first validation images, normalised."""
        return self.augment.normalize(self.val_set.batch(slice(0, count))[0])

    def evaluate_validation(self) -> Evaluation:
        """Evaluate on the validation split."""
        return self._evaluate(self.val_set)

    def evaluate_test(self, test: ImageSet) -> Evaluation:
        """Evaluate on the test split; for finished winners only."""
        return self._evaluate(test.to(self.device))

    def _evaluate(self, data: ImageSet) -> Evaluation:
        size = self.config.train.eval_batch_size
        classes = self.config.model.classes
        return evaluate(self.evaluated, data, self.augment.normalize, size, classes, self.ranks)
