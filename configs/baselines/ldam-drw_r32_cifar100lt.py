"""LDAM-DRW, a single ResNet-32 on CIFAR-100-LT (imbalance factor 100).

Cao et al., NeurIPS 2019, with a warm-up of 5 epochs. Published top-1 % (as quoted by
RIDE's authors): 42.0 all, 61.5 / 41.7 / 20.2 many / medium / few.

    python tools/train.py configs/baselines/ldam-drw_r32_cifar100lt.py

Measured (seed 0, last epoch, `--amp bf16 --compile`, one core of a Xeon) on a
near-lossless copy of CIFAR-100 whose pixels differ by about 1 of 255 from the published
files, top-1 %: 42.16 all, 62.37 / 42.34 / 18.37 many / medium / few;
`docs/results/cifar100lt.md` has the commands.
"""

_base_ = './ce_r32_cifar100lt.py'

model = dict(
    head=dict(
        classifier='cosine',
        scale=30.0,
        loss=dict(
            _delete_=True,
            type='LDAMLoss',
            max_margin=0.5,
            scale=30.0,
            reweight='deferred',
        ),
    )
)
default_hooks = dict(reweight=dict(reweight_epoch=160))
