"""Stage two of RIDE with 3 experts of half width on digits-LT: the routers.

As `ride_r20_digitslt_router.py`. The weights come with the package
(`ride_mm/weights/ride_r20_digitslt_small_router-a664655b.pth`, half precision), for
trying things out without a training.

    python tools/train.py configs/ride/ride_r20_digitslt_small.py
    python tools/train.py configs/ride/ride_r20_digitslt_small_router.py

Both, and the file, with one command (seed 0, last epoch, one CPU thread):

    bash tools/train_packaged_model.sh

Measured by it on that file, top-1 %: 96.3 all, 100.0 / 100.0 / 92.7 many / medium / few
with 1.137 experts on average, 0.550 of the plain network's multiply-adds. On 300 test
images a difference of one or two points is noise.
"""

_base_ = './ride_r20_digitslt_router.py'

load_from = 'work_dirs/ride_r20_digitslt_small/epoch_40.pth'

model = dict(backbone=dict(expert_width=0.5))
