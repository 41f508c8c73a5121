"""The backbone all families share: patches, blocks, norm, mean over tokens, head.

Shapes: B = batch, C = colour channels, S = tokens (patches), D = channels of a token, K = classes,
P = C·patch², h × w = the grid of patches.
"""

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hopsearch.core.errors import ConfigError
from hopsearch.models.family_configs import AsymMixerConfig, IMixerConfig, MixerConfig
from hopsearch.models.mlps import AsymmetricMlp, IteratedMlp
from hopsearch.models.spectral import SpectralLinear, normalized_weights, settle


class PatchEmbed(nn.Module):
    """Cut an image into patches and embed each one linearly.

    The layer is stored as a convolution, for the names and shapes of checkpoints, but computed as
    one matrix product with tokens first.
    """

    def __init__(self, image_size: int, patch_size: int, channels: int, dim: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.patch_size = patch_size
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Embed a batch as x_SBD.

        Raises:
            ConfigError: the images do not have the size the model was built for.
        """
        B, C, height, width = x_BCHW.shape
        if height != self.image_size or width != self.image_size:
            raise ConfigError(
                "model",
                f"images must be {self.image_size} × {self.image_size}, got {height} × {width}",
                "Set model.image_size",
            )
        p = self.patch_size
        grid = self.image_size // p
        x_hwBP = x_BCHW.reshape(B, C, grid, p, grid, p).permute(2, 4, 0, 1, 3, 5)
        return F.linear(
            x_hwBP.reshape(grid * grid, B, C * p * p), self.proj.weight.flatten(1), self.proj.bias
        )


class Mixer(nn.Module):
    """A mixer of any family, with timm's interface; `build` creates one from a config.

    Inside, activations are x_SBD (see `hopsearch.models.mlps`); images, features and logits have
    the batch first, as usual.

    Attributes:
        config: its config; updated by `reset_classifier`.
        folded: whether spectral norms are folded into the weights (`fold`).
        grad_checkpointing: whether blocks keep only their inputs for the backward pass, and are
            recomputed there.
        norms_held: whether forward passes in training leave the estimates of spectral norms
            unchanged, as required for all but the first of an optimizer step, so that all its
            images see the same weights.
        pretrained_cfg: where the model is from a folder or from timm: its classes and how images
            are prepared, in timm's words.
    """

    pretrained_cfg: Mapping[str, object]

    def __init__(self, config: MixerConfig, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.folded = self.norms_held = self.grad_checkpointing = False
        self.num_classes = config.classes
        self.num_features = config.dim
        self.head_hidden_size = self.embed_dim = config.dim
        self.in_chans = config.channels
        self.global_pool = "avg"
        self.stem = PatchEmbed(config.image_size, config.patch_size, config.channels, config.dim)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.head_drop = nn.Dropout(config.head_drop)
        self.head: nn.Module = _head(config.dim, config.classes)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise all weights, as timm does for MLP-Mixer: Xavier, LeCun normal for the patches,
        a head of zeros.

        Does nothing on the meta device, which halves the time to build a model there.
        """
        if self.stem.proj.weight.is_meta:
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=1e-6)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, SpectralLinear):
                module.init_weights()
        _lecun_normal(self.stem.proj.weight)
        for tensor in (self.stem.proj.bias, *self.head.parameters()):
            if tensor is not None:
                nn.init.zeros_(tensor)

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """Tokens after the last norm, x_BSD."""
        x_SBD = self.stem(x_BCHW)
        again = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        for block, weights in zip(self.blocks, self.token_weights(), strict=True):
            x_SBD = (
                cast(Tensor, checkpoint(block, x_SBD, *weights, use_reentrant=False))
                if again
                else block(x_SBD, *weights)
            )
        return cast(Tensor, self.norm(x_SBD)).transpose(0, 1)

    def forward_head(self, x_BSD: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits from `forward_features`, or the pooled features before the head."""
        x_BD = self.head_drop(x_BSD.mean(dim=1) if self.global_pool == "avg" else x_BSD)
        return x_BD if pre_logits else cast(Tensor, self.head(x_BD))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of a batch of images, (B, K)."""
        return self.forward_head(self.forward_features(x_BCHW))

    def token_weights(self) -> list[tuple[Tensor, ...]]:
        """The additional inputs of each block's token MLP: the two effective weights in iMixer,
        nothing in other families.

        All blocks are normalised together. In training mode this also updates the singular vectors;
        in evaluation it has no side effects. It is computed in every forward pass: a cache would
        have to detect every change of a weight, to save one batched product.
        """
        mlps = [cast(IteratedMlp, block.mlp_tokens) for block in self.blocks]
        if not isinstance(mlps[0], IteratedMlp):
            return [()] * len(mlps)
        if self.folded:
            return [
                (cast(nn.Linear, mlp.fc_sn1).weight, cast(nn.Linear, mlp.fc_sn2).weight)
                for mlp in mlps
            ]
        first = [cast(SpectralLinear, mlp.fc_sn1) for mlp in mlps]
        second = [cast(SpectralLinear, mlp.fc_sn2) for mlp in mlps]
        config = cast(IMixerConfig, self.config)
        tall, wide = (first, second) if config.hidden_dim >= config.tokens_dim else (second, first)
        normed = normalized_weights(
            tall,
            wide,
            config.spectral_coeff,
            config.n_power,
            update=self.training and not self.norms_held,
        )
        return list(zip(*(normed if tall is first else reversed(normed)), strict=True))

    def settle_norms(self) -> None:
        """Compute the exact singular vectors of the current weights.

        For weights not produced by a training step, such as a moving average: otherwise iMixer's
        normalisation would use the vectors of other weights, and allow norms above
        ``spectral_coeff``. Does nothing in other families.
        """
        settle([module for module in self.modules() if isinstance(module, SpectralLinear)])

    def regularization(self) -> Tensor:
        """The symmetry-breaking penalty to add to the loss: λ Σ_blocks (‖tokens.fc2‖² +
        ‖channels.fc2‖²) (arXiv 2406.12220).

        A scalar in every family; a constant zero without a graph if λ is 0 or not a setting.
        """
        strength = (
            self.config.symmetry_breaking if isinstance(self.config, AsymMixerConfig) else 0.0
        )
        if strength == 0:
            return self.norm.weight.new_zeros(())
        breaking = [mlp.fc2.weight for mlp in self.modules() if isinstance(mlp, AsymmetricMlp)]
        return strength * torch.stack([weight.square().sum() for weight in breaking]).sum()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training: see ``grad_checkpointing`` (timm's interface)."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The head (timm's interface)."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a new one of zeros; 0 classes: no head (timm's interface).

        Args:
            num_classes: classes of the new head.
            global_pool: ``avg`` for the mean over tokens, an empty string for no pooling; None:
                unchanged.
        """
        if global_pool is not None:
            if global_pool not in ("avg", ""):
                raise ConfigError(
                    "global_pool",
                    f"must be avg or empty, got {global_pool!r}",
                    "Leave it out for avg",
                )
            self.global_pool = global_pool
        weight = self.stem.proj.weight
        self.config = self.config.model_copy(update={"classes": num_classes})
        self.num_classes = num_classes
        self.head = _head(self.num_features, num_classes).to(
            device=weight.device, dtype=weight.dtype
        )
        for tensor in self.head.parameters():
            nn.init.zeros_(tensor)
        self.head.train(self.training)


def _head(dim: int, classes: int) -> nn.Module:
    return nn.Linear(dim, classes) if classes else nn.Identity()


def _lecun_normal(weight: Tensor) -> None:
    # timm's `lecun_normal_`, to the bit: a normal distribution truncated at two deviations, scaled
    # to a deviation of 1 / sqrt(fan in).
    low, high = ((1.0 + math.erf(cut / math.sqrt(2.0))) / 2.0 for cut in (-2.0, 2.0))
    with torch.no_grad():
        weight.uniform_(2 * low - 1, 2 * high - 1).erfinv_().mul_(math.sqrt(2.0)).clamp_(-2.0, 2.0)
        weight.mul_(math.sqrt(1.0 / weight[0].numel()) / 0.87962566103423978)
