"""Packaging of ride_mm; versions come from the package, which is not imported."""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
RESOURCES = ('configs', 'tools', 'model-index.yml')
VERSION = runpy.run_path(str(ROOT / 'ride_mm' / 'version.py'))['__version__']
STACKS = runpy.run_path(str(ROOT / 'ride_mm' / 'utils' / 'stacks.py'))


class BuildWithResources(build_py):
    """Put configs, tools and the model index into ``ride_mm/.mim`` of a wheel.

    An editable install needs no copy: it reads them from the repository.
    """

    def run(self) -> None:
        """Build the package, then copy the resources beside it."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'ride_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in RESOURCES:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
                shutil.copytree(source, target / name, ignore=ignored)
            else:
                shutil.copy(source, target / name)


setup(
    name='ride_mm',
    version=VERSION,
    description='Long-tailed recognition with diverse experts (RIDE) for MMPretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='long-tailed recognition, mixture of experts, image classification',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=('ride_mm', 'ride_mm.*')),
    package_data={'ride_mm': ['weights/*.pth']},
    cmdclass={'build_py': BuildWithResources},
    python_requires='>=3.11',
    # No mm* name here: pip would then install one stack over the other.
    install_requires=[
        f'torch>={STACKS["TORCH_MINIMUM"]}',
        'torchvision',
        'numpy>=1.24',
        'pillow',
    ],
    extras_require={
        **{name: list(pins) for name, pins in STACKS['STACKS'].items()},
        'tests': [
            *('pytest', 'pytest-xdist>=3.6', 'ruff==0.17.*'),
            *('scikit-learn', 'matplotlib', 'msgpack'),
        ],
        'quickstart': ['scikit-learn', 'matplotlib'],
        # To read the checkpoints of V-MoE's JAX code.
        'vmoe': ['msgpack'],
    },
    zip_safe=False,
)
