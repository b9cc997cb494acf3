"""Models: classifiers of a backbone, a neck and a head, and the losses they use."""

from .backbones import *  # noqa: F403
from .classifiers import *  # noqa: F403
from .heads import *  # noqa: F403
from .layers import *  # noqa: F403
from .losses import *  # noqa: F403
from .preprocessing import *  # noqa: F403
