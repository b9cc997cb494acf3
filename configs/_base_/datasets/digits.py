"""All of scikit-learn's 1,797 handwritten digits; 30 test images of each class.

As `digits_lt.py`, but balanced as they are.
"""

_base_ = './digits_lt.py'

train_dataloader = dict(dataset=dict(imbalance=None, factor=None, n_max=None, seed=0))
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
