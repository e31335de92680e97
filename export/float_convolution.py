"""The convolution of an 8-bit one in plain float32; a file of its own, for a saved model names its classes by where they stand."""

from torch import Tensor, nn

from training.models.convolution import same_padding


class FloatConvolution(nn.Conv2d):
    """A convolution that pads as TensorFlow does."""

    def forward(self, image: Tensor) -> Tensor:
        """Convolve (N, C, height, width)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (same_padding(size, kernel, stride) for size in image.shape[2:])
        return super().forward(
            nn.functional.pad(image, (left, right, top, bottom)) if top + bottom + left + right else image
        )
