"""A short text that changes with the content of tensors."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def fingerprint(tensors: Mapping[str, Any]) -> str:
    """Return a hash over names, dtypes, shapes and bytes; what is no tensor is left out."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items(), key=lambda pair: pair[0]):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            content = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(content.view(torch.uint8).numpy().data if len(content) else b"")
    return digest.hexdigest()
