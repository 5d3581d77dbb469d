"""R3D with 18 layers: torchvision's network and state dict, without the head.

Tran et al. 2018, arXiv:1711.11248. 33.22 M parameters with 101 classes, 40.70 GMAC for a clip of
3x16x112x112. The benchmark of arXiv:2306.06010 has VCOP's R3D of one block per stage (14.4 M)
instead: never mix the two in one table.
"""

from torchvision.models.video import r3d_18 as torchvision_r3d_18

from kdbatch.run.models.network import VideoBackbone
from kdbatch.run.models.video_resnet import as_backbone, video_resnet


def r3d_18(*, width: float) -> VideoBackbone:
    """The network with random weights; maps are those of R(2+1)D."""
    return as_backbone(video_resnet(torchvision_r3d_18, width=width), width=width)
