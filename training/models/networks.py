"""The image networks that a recipe can choose: what each is called, how it is made, and how its weights are read."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self
from zipfile import BadZipFile

from pydantic import Field, model_validator

from training.config import Config, RecipeError
from training.models import mobilenet
from training.models.densenet import DenseNet
from training.models.image_network import ImageNetwork, Trainable
from training.models.mobilenet_float import FloatMobileNetV2
from training.models.resnet import PLANS, ResNet, ResNetKind
from training.models.weight_files import load_torchvision_weights

EIGHT_BIT: Final = "mobilenet_v2_8bit"
NetworkKind = ResNetKind | Literal["densenet121", "mobilenet_v2", "mobilenet_v2_8bit"]
NETWORKS: Final[dict[NetworkKind, Callable[[], ImageNetwork]]] = {
    **{kind: partial(ResNet, plan) for kind, plan in PLANS.items()},
    "densenet121": DenseNet,
    "mobilenet_v2": FloatMobileNetV2,
    EIGHT_BIT: mobilenet.MobileNetV2,
}


class NetworkConfig(Config):
    """The `network` of a captioning problem; a path alone stands for the 8-bit MobileNetV2.

    Attributes:
        kind: which network.
        weights: its ImageNet weights, relative to the data folder: torchvision's .pth file, or an .npz file with the same
            names; for mobilenet_v2_8bit its own .npz file.
        trainable: which of its weights are trained; unless none, every batch runs the network on images instead of reading
            features that were computed once.
    """

    kind: NetworkKind
    weights: str = Field(pattern=r"\.(pth|npz)$")
    trainable: Trainable = "none"

    @model_validator(mode="after")
    def _integers_are_frozen(self) -> Self:
        """Refuse to train weights that are 8-bit integers."""
        if self.kind == EIGHT_BIT and self.trainable != "none":
            raise ValueError(
                f"trainable {self.trainable!r} with {EIGHT_BIT}, whose weights are integers; allowed: none"
            )
        return self


class NetworkFile(NamedTuple):
    """A network and the file with its weights.

    Attributes:
        kind: which network.
        path: its weights.
        trainable: which of them are trained.
    """

    kind: NetworkKind
    path: Path
    trainable: Trainable

    def load(self) -> ImageNetwork:
        """Make the network and read its weights; RecipeError where the file is not its own."""
        network = NETWORKS[self.kind]()
        if isinstance(network, mobilenet.MobileNetV2):
            try:
                mobilenet.load_weights(network, self.path)
            except (OSError, RuntimeError, TypeError, ValueError, BadZipFile) as error:
                raise RecipeError(f"{self.path}: cannot be read as weights of {EIGHT_BIT}: {error}") from error
        else:
            load_torchvision_weights(network, self.path)
        network.set_trainable(self.trainable)
        return network
