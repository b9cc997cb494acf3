"""Long-tailed recognition with diverse experts, as a plugin for MMPretrain.

Importing this package registers its models, datasets, hooks and metrics in MMPretrain,
which then finds its models by name, too.
"""

import warnings

from .utils import check_installation
from .version import __version__

# mmcv-lite warns that it has no compiled operators; none is needed.
warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')

# Before anything imports MMPretrain, whose own errors would not name the cause.
check_installation()

from . import datasets, engine, evaluation, models  # noqa: E402
from .apis.model_index import register_model_index  # noqa: E402

register_model_index()

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']
