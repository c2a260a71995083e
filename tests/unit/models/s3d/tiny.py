"""An S3D trunk of a sixteenth of the published width."""

from __future__ import annotations

import torch
from torch import nn

from models.s3d.config import S3dOptions
from models.s3d.network import S3d

WIDTH = 1 / 16


def tiny(seed: int = 0, **options: object) -> S3d:
    """With weights that carry the input to the end."""
    torch.manual_seed(seed)
    trunk = S3d(S3dOptions.model_validate({"width": WIDTH, **options}))
    for name, parameter in trunk.named_parameters():
        if ".conv." in name:
            nn.init.kaiming_normal_(parameter)
    return trunk
