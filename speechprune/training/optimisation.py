"""What the trainings share: one update, a schedule, and checkpoints that a killed training goes on from."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from speechprune.common.files import atomic_write

_LOWEST = 0.02


def quick(device: torch.device) -> torch.autocast:
    """A context in which matrices are multiplied in bfloat16 where the hardware is made for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=quick_dtype(device) == torch.bfloat16)


def quick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and on a CPU with instructions for it (AVX512-BF16, AMX); float32 on others."""
    if device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return torch.float32


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file that appears by rename, whole."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    with atomic_write(path, "wb") as handle:
        handle.write(content)


def update(optimizers: Sequence[torch.optim.Optimizer], loss: Tensor, parameters: Iterable, factor: float) -> None:
    """One step with every learning rate at ``factor`` of its peak, gradients clipped to a norm of 1."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("peak_lr", group["lr"])
            group["lr"] = group["peak_lr"] * factor
        optimizer.step()


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate: up over ``warmup`` steps, level for a quarter of the whole, down in a line."""
    up = (step + 1) / max(1, min(warmup, steps // 10))
    return min(1.0, up) * max(_LOWEST, min(1.0, 1.3 * (1 - step / steps)))


class Checkpoint:
    """The state of one training: weights, optimisers and step, in a safetensors file that appears by rename.

    Args:
        out: file that the training ends with; the checkpoint stands beside it.
        module: its parameters that require gradients are kept.
        optimizers: whose state is tensors.
        minutes: between two checkpoints.
    """

    def __init__(
        self, out: Path, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], minutes: float
    ) -> None:
        self.path = out.with_name(f"{out.name}.checkpoint")
        self._module, self._optimizers, self._seconds = module, optimizers, 60 * minutes
        self._saved = time.monotonic()

    def resume(self) -> int:
        """Load what there is; the number of steps done.

        Raises:
            ValueError: the checkpoint is of a training of something else.
        """
        if not self.path.is_file():
            return 0
        with safe_open(self.path, "pt") as file:
            step, names = int(file.metadata()["step"]), set(file.keys())
            trained = dict(self._trained())
            if {f"weights/{name}" for name in trained} != {name for name in names if name.startswith("weights/")}:
                raise ValueError(f"{self.path}: it is of another model; remove it to train from the beginning")
            for name, parameter in trained.items():
                parameter.data.copy_(file.get_tensor(f"weights/{name}"))
            for k, optimizer in enumerate(self._optimizers):
                state: dict[int, dict] = {}
                for key in names:
                    kind, _, rest = key.partition("/")
                    if kind == f"optimizer{k}":
                        number, _, name = rest.partition("/")
                        state.setdefault(int(number), {})[name] = file.get_tensor(key)
                optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        logging.info("%s: going on from step %d", self.path, step)
        return step

    def save_if_due(self, step: int) -> None:
        if time.monotonic() - self._saved < self._seconds:
            return
        tensors = {f"weights/{name}": parameter.data for name, parameter in self._trained()}
        for k, optimizer in enumerate(self._optimizers):
            for number, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{k}/{number}/{name}": torch.as_tensor(v) for name, v in state.items()}
        save_tensors(self.path, tensors, {"step": str(step)})
        self._saved = time.monotonic()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self._module.named_parameters() if p.requires_grad]
