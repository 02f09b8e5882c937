"""What the real `transformers` compute; runs in .venv-parity, where there is PyTorch and no JAX."""

import numpy as np
import torch


def gradients(model: torch.nn.Module, ids_BT: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns logits [B, T, V] and the gradient of the mean loss of the next token, by the tensors' names."""
    ids = torch.from_numpy(np.asarray(ids_BT, np.int64))
    model.eval()
    model.zero_grad()
    logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    found = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach().numpy(), found
