"""Kernels that show what they do."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import cudnn, mha, mkldnn


@contextmanager
def open_kernels() -> Iterator[None]:
    """Run on kernels whose matrix products and tensors can be seen from outside.

    Fused ones (attention, an encoder layer's fast path, oneDNN's and cuDNN's recurrent layers) are
    one operation each, of which neither `torch.utils.flop_counter` nor a count of tensors knows
    what it holds: a whole transformer would come to nothing.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415 - loaded where used

    fast, onednn, cuda = mha.get_fastpath_enabled(), bool(mkldnn.enabled), cudnn.enabled
    _switch(False, False, False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        _switch(fast, onednn, cuda)


def _switch(fast: bool, onednn: bool, cuda: bool) -> None:
    mha.set_fastpath_enabled(fast)
    mkldnn.enabled = onednn
    cudnn.enabled = cuda
