"""RandAugment as it is in the recipes of V-MoE."""

from mmpretrain.datasets.transforms import RandAugment
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TPURandAugment(RandAugment):
    """RandAugment with the operations and magnitudes of TensorFlow's TPU models.

    Cubuk et al., RandAugment, 2020, as in
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet: sixteen
    operations, of which each layer applies one, always. Magnitudes grow in proportion
    and may exceed 10, which is only the unit: V-MoE's recipes take 10 to 20. Colours
    become stronger, not weaker, from 5.6 on; geometric operations take a random sign.

    Args:
        num_ops: Layers, each an operation drawn anew.
        magnitude: Of all operations.
        image_size: Width of the images, of which 100 are moved away at magnitude 10.
    """

    def __init__(
        self, num_ops: int = 2, magnitude: float = 10, image_size: int = 224
    ) -> None:
        always = dict(prob=1.0)
        moved = dict(always, magnitude_range=(0, 100 / image_size))
        sheared = dict(always, magnitude_range=(0, 0.3))
        # A factor of 0.1 + 0.18 m, where MMPretrain counts from a factor of 1.
        enhanced = dict(always, magnitude_range=(-0.9, 0.9), random_negative_prob=0.0)
        super().__init__(
            policies=[
                dict(type='AutoContrast', **always),
                dict(type='Equalize', **always),
                dict(type='Invert', **always),
                dict(type='Rotate', magnitude_range=(0, 30), **always),
                dict(type='Posterize', magnitude_range=(0, 4), **always),
                dict(type='Solarize', magnitude_range=(0, 256), **always),
                dict(type='SolarizeAdd', magnitude_range=(0, 110), **always),
                dict(type='ColorTransform', **enhanced),
                dict(type='Contrast', **enhanced),
                dict(type='Brightness', **enhanced),
                dict(type='Sharpness', **enhanced),
                dict(type='Shear', direction='horizontal', **sheared),
                dict(type='Shear', direction='vertical', **sheared),
                dict(type='Translate', direction='horizontal', **moved),
                dict(type='Translate', direction='vertical', **moved),
                dict(type='Cutout', magnitude_range=(0, 80), **always),
            ],
            num_policies=num_ops,
            magnitude_level=magnitude,
            total_level=10,
            hparams=dict(pad_val=128, interpolation='nearest'),
        )
