"""A Hopfield-derived vision mixer in plain PyTorch, for inference and fine-tuning; this one file,
torch, and nothing else.

    import modeling  # this folder must be on sys.path
    model = modeling.load("<this folder>")  # needs torch and safetensors
    model = timm.create_model("local-dir:<this folder>", pretrained=True)  # after the import

Images come as float32 (B, C, H, W) in [-1, 1]: pixel / 127.5 - 1. The families: MLP-Mixer (arXiv
2105.01601), iMixer (arXiv 2304.13061), VanillaMixer, ParaMixer, SymMixer, AsymMixer (arXiv
2406.12220). iMixer's spectral norms are folded into its weights; dropout and drop-path are left
out. hopsearch writes this file beside every model that it exports.

Shapes: B = batch, C = colour channels, S = tokens (patches), D = channels of a token, K = classes.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

FAMILIES = ("mlpmixer", "imixer", "vanillamixer", "paramixer", "symmixer", "asymmixer")


class Mlp(nn.Module):
    """W2 σ(W1 x) over the last axis, σ = GELU; see `forward` for what each family makes of it."""

    def __init__(
        self, family: str, features: int, hidden: int, inner: int = 0, n_iter: int = 0
    ) -> None:
        super().__init__()
        self.family = family
        self.n_iter = n_iter
        bias = family in ("mlpmixer", "imixer")
        if family == "symmixer":
            self.fc2 = nn.Linear(features, hidden, bias=False)
            return
        self.fc1 = nn.Linear(features, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, features, bias=bias)
        if n_iter:
            self.fc_sn1 = nn.Linear(hidden, inner)
            self.fc_sn2 = nn.Linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """SymMixer: Wᵀ σ(W x). AsymMixer: (W1ᵀ + W̃) σ(W1 x). iMixer's tokens: y ← z + F(y), n_iter
        times from y = z = W1 x.
        """
        if self.family == "symmixer":
            return F.gelu(self.fc2(x)) @ self.fc2.weight
        y = z = self.fc1(x)
        for _ in range(self.n_iter):
            y = z + self.fc_sn2(F.gelu(self.fc_sn1(F.gelu(y))))
        hidden = F.gelu(y)
        out: Tensor = self.fc2(hidden)
        return out + hidden @ self.fc1.weight if self.family == "asymmixer" else out


class Block(nn.Module):
    """Token and channel mixing: one after the other, or side by side behind one norm; repeated with
    the same weights.
    """

    def __init__(
        self, family: str, tokens: int, dim: int, token_mlp: Mlp, channel_mlp: Mlp, n_iter: int
    ) -> None:
        super().__init__()
        self.n_iter = n_iter
        self.parallel = family in ("paramixer", "symmixer", "asymmixer")
        normed = (dim,) if family in ("mlpmixer", "imixer") else (tokens, dim)
        if self.parallel:
            self.norm = nn.LayerNorm(normed, eps=1e-6)
        else:
            self.norm1 = nn.LayerNorm(normed, eps=1e-6)
            self.norm2 = nn.LayerNorm(normed, eps=1e-6)
        self.mlp_tokens = token_mlp
        self.mlp_channels = channel_mlp

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Apply the block."""
        for _ in range(self.n_iter):
            if self.parallel:
                normed_BSD = self.norm(x_BSD)
                x_BSD = x_BSD + self.mix_tokens(normed_BSD) + self.mlp_channels(normed_BSD)
            else:
                x_BSD = x_BSD + self.mix_tokens(self.norm1(x_BSD))
                x_BSD = x_BSD + self.mlp_channels(self.norm2(x_BSD))
        return x_BSD

    def mix_tokens(self, x_BSD: Tensor) -> Tensor:
        """The token MLP along S."""
        mixed: Tensor = self.mlp_tokens(x_BSD.transpose(1, 2))
        return mixed.transpose(1, 2)


class Stem(nn.Module):
    """Patches, each embedded linearly."""

    def __init__(self, patch_size: int, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Embed a batch as x_BSD."""
        embedded: Tensor = self.proj(x_BCHW)
        return embedded.flatten(2).transpose(1, 2)


class Mixer(nn.Module):
    """A mixer of any family.

    Args:
        family: one of `FAMILIES`.
        image_size, patch_size: pixels a side.
        channels: colour channels of an image.
        classes: classes of the head; 0 leaves it out.
        depth: blocks.
        dim: channels of a token.
        token_ratio, channel_ratio: widths of the two MLPs, as multiples of dim.
        n_iter: iMixer: steps of the token MLP's iteration; elsewhere how often each block is
            applied.
        h_ratio: iMixer: width of the hierarchy's hidden layer, as a multiple of the token MLP's
            width.
    """

    def __init__(
        self,
        family: str,
        image_size: int,
        patch_size: int,
        channels: int,
        classes: int,
        depth: int,
        dim: int,
        token_ratio: float,
        channel_ratio: float,
        n_iter: int = 1,
        h_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_classes = classes
        self.num_features = dim
        tokens = (image_size // patch_size) ** 2
        tokens_dim = int(token_ratio * dim)
        channels_dim = int(channel_ratio * dim)
        inner, steps = (int(h_ratio * tokens_dim), n_iter) if family == "imixer" else (0, 0)
        repeats = 1 if family in ("mlpmixer", "imixer") else n_iter
        self.stem = Stem(patch_size, channels, dim)
        self.blocks = nn.Sequential()
        for _ in range(depth):
            token_mlp = Mlp(family, tokens, tokens_dim, inner, steps)
            self.blocks.append(
                Block(family, tokens, dim, token_mlp, Mlp(family, dim, channels_dim), repeats)
            )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes) if classes else nn.Identity()

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """Tokens after the last norm, x_BSD."""
        features: Tensor = self.norm(self.blocks(self.stem(x_BCHW)))
        return features

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of a batch of images, (B, K)."""
        logits: Tensor = self.head(self.forward_features(x_BCHW).mean(dim=1))
        return logits


_FIELDS = (
    *(
        "image_size",
        "patch_size",
        "channels",
        "classes",
        "depth",
        "dim",
        "token_ratio",
        "channel_ratio",
        "n_iter",
        "h_ratio",
    ),
)
_TIMM_NAMES = {"num_classes": "classes", "img_size": "image_size", "in_chans": "channels"}


def build(family: str, **fields: Any) -> Mixer:
    """A mixer from its config, which may hold fields that matter to its training only."""
    named = {_TIMM_NAMES.get(key, key): value for key, value in fields.items()}
    size = named["image_size"]
    named["image_size"] = size[0] if isinstance(size, (tuple, list)) else size
    return Mixer(family, **{key: value for key, value in named.items() if key in _FIELDS})


def load(folder: str | Path) -> Mixer:
    """The model of an exported folder, in evaluation mode.

    A study's winner is loaded too, unless it is an iMixer: its spectral norms come into the weights
    when it is exported.

    Raises:
        ValueError: an iMixer as it was trained, whose spectral norms are not in the weights yet.
    """
    from safetensors.torch import load_file

    about = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["hopsearch"]
    fields = about.get("model", about["trial"]["model"])  # older winners have the trial alone
    if fields["family"] == "imixer" and not about.get("folded", False):
        raise ValueError(
            f"{folder} must be an exported folder, got the winner folder of a search. Export it: "
            f"python "
            f"-m hopsearch.export"
        )
    model = build(**fields)
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return model.eval()


def _entry_point(family: str) -> Callable[..., nn.Module]:
    def entry_point(pretrained: bool = False, **keywords: Any) -> nn.Module:
        from timm.models import build_model_with_cfg

        def make(**fields: Any) -> Mixer:
            return build(family, **fields)

        model: nn.Module = build_model_with_cfg(make, entry_point.__name__, pretrained, **keywords)
        return model

    entry_point.__name__ = entry_point.__qualname__ = f"{family}_s16_224"
    return entry_point


def _register() -> None:
    # The architecture's name in config.json; every size in it is overruled by the arguments beside
    # it.
    try:
        import timm
        from timm.models import register_model
    except ImportError:
        return  # `load` needs torch alone
    for family in FAMILIES:
        entry_point = _entry_point(family)
        if not timm.is_model(entry_point.__name__):  # hopsearch's own will do
            register_model(entry_point)


if __name__ == "modeling":
    _register()
