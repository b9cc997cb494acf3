"""RIDE with 3 experts and Swin-T on ImageNet-LT, stage one.

The authors' follow-up, https://github.com/TonyLianLong/RIDE-Swin-LongTailRecognition,
its public configuration: stages 3 and 4 once per expert, of 3/4 width with as many
heads. Published top-1 %: 54.4 all, 65.7 / 50.7 / 35.5 many / medium / few, with their
limits (many from 100 on, few up to 20 images). Theirs are 8 GPUs x 32 images x 4 steps;
one process takes 128 images eight times.

Departures. The margin of a mixed image is that of each of its classes, theirs that of
the image's own one alone; re-weighting is a weighted mean. No label smoothing. The last
LayerNorm is each expert's own. The cosine begins behind the warm-up, not below it.

    python tools/train.py configs/ride/ride_swint_imagenetlt.py
    bash tools/dist_train.sh configs/ride/ride_swint_imagenetlt.py 8 \
        --cfg-options optim_wrapper.accumulative_counts=1

Not run yet.
"""

_base_ = [
    '../_base_/models/ride_swin.py',
    '../_base_/datasets/imagenet_lt_swin.py',
    '../_base_/schedules/swin_300e.py',
    '../_base_/default_runtime.py',
]

# Theirs count epochs from 0 and re-weight behind number 240.
default_hooks = dict(reweight=dict(reweight_epoch=241))
