"""The versions ride_mm works with; ``setup.py`` reads this file, importing nothing."""

# What the extras of the same names install.
STACKS = {
    'openmmlab': (
        'mmengine==0.10.7',
        'mmcv-lite==2.2.0',
        'mmpretrain==1.2.0',
        # MMEngine 0.10.7 reads `mmpretrain::...` configs through pkg_resources.
        'setuptools<82',
    ),
    'onedl': (
        'onedl-mmengine==0.10.12',
        'onedl-mmcv==2.3.6',
        'onedl-mmpretrain==1.3.6',
        # Used by onedl-mmengine, but missing from its requirements.
        'opencv-python',
    ),
}

# Module: lowest version that works, first version that does not. The ranges of
# mmengine and mmcv are those that MMPretrain asserts when it is imported.
SUPPORTED = {
    'mmengine': ('0.8.3', '1.0.0'),
    'mmcv': ('2.0.0', '2.4.0'),
    'mmpretrain': ('1.2.0', '2.0.0'),
}

# Older versions of torch load a checkpoint by running what it contains.
TORCH_MINIMUM = '2.6'
