"""`ImageSet`: decoded images with their labels, and the access to batches.

Shapes: N images, C channels, H/W height and width, B images of a batch.
"""

from dataclasses import dataclass, field

import torch

_LARGE_ROW = 2**14  # bytes


@dataclass(frozen=True)
class ImageSet:
    """Decoded images and their labels. Access images only through `batch`: where they are stored is
    an implementation detail.
    """

    images_NCHW: torch.Tensor
    """uint8."""
    labels_N: torch.Tensor
    """int64, on the device of the batches."""
    mapped: bool = False
    """Whether the images stay on disk, shared by all processes of the machine; only batches are
    moved to a device.
    """
    _elsewhere: dict[torch.device, "ImageSet"] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def device(self) -> torch.device:
        """The device of batches."""
        return self.labels_N.device

    @property
    def index_device(self) -> torch.device:
        """The device on which `batch` expects its indices: moving them from GPU to CPU at every
        step would force a synchronisation.
        """
        return self.images_NCHW.device if self.mapped else self.device

    def to(self, device: torch.device | str) -> "ImageSet":
        """This set on ``device``, copied once per process. Mapped images stay on disk, see
        `batch`.
        """
        device = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
        if self.device == device:
            return self
        if device not in self._elsewhere:
            images = self.images_NCHW if self.mapped else self.images_NCHW.to(device)
            self._elsewhere[device] = ImageSet(images, self.labels_N.to(device), self.mapped)
        return self._elsewhere[device]

    def batch(self, index: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 images (B, C, H, W) and labels (B,) at ``index``, both on the set's device,
        wherever the images and the index are stored.
        """
        if isinstance(index, slice):
            images_BCHW = self.images_NCHW[index]  # a view
            if images_BCHW.device != self.device:
                images_BCHW = self._sent(self._room(len(images_BCHW)).copy_(images_BCHW))
            return images_BCHW, self.labels_N[index]
        labels_B = self.labels_N.index_select(0, index.to(self.device, non_blocking=True))
        if self.mapped:
            return self._sent(self._read(index)), labels_B
        # index_select copies whole images; images[index] copies byte by byte, 5 to 15 times slower
        # on a CPU.
        return self.images_NCHW.index_select(0, index.to(self.device)), labels_B

    def _read(self, index_B: torch.Tensor) -> torch.Tensor:
        """Rows of the mapped file; large ones are read in file order, then put in place."""
        images_BCHW = self._room(len(index_B))
        if self.images_NCHW[0].numel() < _LARGE_ROW:
            return torch.index_select(self.images_NCHW, 0, index_B.to("cpu"), out=images_BCHW)
        wanted = index_B.tolist()
        source = self.images_NCHW.numpy()
        target = images_BCHW.numpy()
        for place in sorted(range(len(wanted)), key=wanted.__getitem__):
            target[place] = source[wanted[place]]
        return images_BCHW

    def _room(self, rows: int) -> torch.Tensor:
        # Pinned memory is copied to a GPU asynchronously; torch's allocator reclaims it when the
        # copy is done.
        return torch.empty(
            (rows, *self.images_NCHW.shape[1:]),
            dtype=torch.uint8,
            pin_memory=self.device.type == "cuda",
        )

    def _sent(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return images_BCHW.to(self.device, non_blocking=True)
