"""What a killed training goes on from: weights, optimiser and step in one safetensors file that appears by rename."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from speechprune.common.files import atomic_write


class Checkpoint:
    """The state of one training.

    Args:
        out: file that the training ends with; the checkpoint stands beside it.
        module: its parameters that require gradients are kept.
        optimizer: AdamW, say; its state is tensors.
        minutes: between two checkpoints.
    """

    def __init__(self, out: Path, module: nn.Module, optimizer: torch.optim.Optimizer, minutes: float) -> None:
        self.path = out.with_name(f"{out.name}.checkpoint")
        self._module, self._optimizer, self._seconds = module, optimizer, 60 * minutes
        self._saved = time.monotonic()

    def resume(self) -> int:
        """Load what there is; the number of steps done."""
        if not self.path.is_file():
            return 0
        with safe_open(self.path, "pt") as file:
            step = int(file.metadata()["step"])
            for name, parameter in self._trained():
                parameter.data.copy_(file.get_tensor(f"weights/{name}"))
            state = self._optimizer.state_dict()
            keys = [key.split("/") for key in file.keys() if key.startswith("optimizer/")]  # noqa: SIM118 (no dict)
            state["state"] = {int(number): {} for _, number, _ in keys}
            for _, number, name in keys:
                state["state"][int(number)][name] = file.get_tensor(f"optimizer/{number}/{name}")
        self._optimizer.load_state_dict(state)
        logging.info("%s: going on from step %d", self.path, step)
        return step

    def save_if_due(self, step: int) -> None:
        if time.monotonic() - self._saved < self._seconds:
            return
        tensors = {f"weights/{name}": parameter.data for name, parameter in self._trained()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": torch.as_tensor(value) for name, value in state.items()}
        with atomic_write(self.path, "wb") as handle:
            handle.write(save({k: v.contiguous() for k, v in tensors.items()}, {"step": str(step)}))
        self._saved = time.monotonic()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self._module.named_parameters() if p.requires_grad]
