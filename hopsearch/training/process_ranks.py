"""The processes that train one model together. A single process is the special case without
communication.

Every rank draws the same order of items, takes its share of each batch, and averages gradients
with the others, so training over ranks is equivalent to training in one process with the same
batch. Batch statistics are not synchronised; mixers have none, since they normalise item by item.
The running vectors of iMixer's power iteration are equal on all ranks, since they depend only on
the weights.
"""

import contextlib
import io
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hopsearch.training.checkpoint import TrialState


class Ranks:
    """This process's rank in the torch.distributed group; alone if there is none.

    Attributes:
        rank: from 0; rank 0 writes checkpoints and speaks for all.
        world: number of ranks.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    def share(self, n: int) -> slice:
        """This rank's contiguous share of ``n`` items: the shares cover all, and their sizes differ
        by at most one.
        """
        each, more = divmod(n, self.world)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over ranks, in place; every rank must call it."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over ranks at the end of a backward pass; the model
        itself if there is only one rank.
        """
        return (
            model
            if self.world == 1
            else DistributedDataParallel(
                model, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        )

    @contextlib.contextmanager
    def apart(self, net: nn.Module) -> Iterator[None]:
        """Backward passes inside only accumulate this rank's gradients: for all parts of a batch
        except the last.
        """
        with (
            net.no_sync() if isinstance(net, DistributedDataParallel) else contextlib.nullcontext()
        ):
            yield

    def from_first(self, state: TrialState | None, device: torch.device) -> TrialState | None:
        """Rank 0's ``state`` on all ranks, so that only rank 0 needs to reach the checkpoints.

        Args:
            state: rank 0's state; ignored on others. Only types that load without pickle.
            device: device required by the group's backend.
        """
        if self.world == 1:
            return state
        buffer = io.BytesIO()
        if self.rank == 0 and state is not None:
            torch.save(state, buffer)
        size = torch.tensor([buffer.getbuffer().nbytes], device=device)
        dist.broadcast(size, 0)
        if not int(size):
            return None
        data = (
            torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
            if self.rank == 0
            else None
        )
        data = torch.empty(int(size), dtype=torch.uint8) if data is None else data
        data = data.to(device)
        dist.broadcast(data, 0)
        if self.rank == 0:
            return state
        loaded: TrialState = torch.load(
            io.BytesIO(data.cpu().numpy().tobytes()), map_location="cpu", weights_only=True
        )
        return loaded

    def leave(self) -> None:
        """Break up the group: ranks that wait for this one get an error instead of waiting
        forever.
        """
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
