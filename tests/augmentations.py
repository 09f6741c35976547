"""Augmentations that draw from each generator; a module of its own, so that workers import it."""

import random

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2


def torch_noise(image):
    return image + torch.randn_like(image)


def numpy_noise(image):
    return image + torch.from_numpy(np.random.randn(*image.shape)).float()


def python_noise(image):
    return image + random.gauss(0, 1)


def all_noise(image):
    return torch_noise(numpy_noise(python_noise(image)))


def seldom(image):
    """Draw from numpy at three examples in ten, as torch decides."""
    return image + np.random.rand() if torch.rand(()) < 0.3 else image


def vision():
    return v2.Compose(
        [
            v2.RandomCrop(8, padding=2),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4),
            v2.RandomErasing(p=0.5),
        ]
    )


TRANSFORMS = {
    "torchvision": vision(),
    "torch": torch_noise,
    "numpy": numpy_noise,
    "python": python_noise,
    "all": all_noise,
    "seldom": seldom,
}


class Images(Dataset):
    """Images with labels, computed one by one; `augment` makes it one that draws by itself."""

    def __init__(self, length=20, augment=None):
        generator = torch.Generator().manual_seed(5)
        self.images = torch.rand(length, 3, 8, 8, generator=generator)
        self.labels = torch.arange(length) % 3
        self.augment = augment

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        image = self.images[place]
        return (image if self.augment is None else self.augment(image)), self.labels[place]
