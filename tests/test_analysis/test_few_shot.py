"""Few-shot evaluation: the closed form, the draws, and the choice of the strength."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

import ride_mm  # noqa: F401  (registers the models)
from ride_mm.analysis.features import collect_features, image_features
from ride_mm.analysis.few_shot import (
    LabelledFeatures,
    draw_images,
    evaluate_shots,
    fit_ridge,
)


def problem(images: int, channels: int, classes: int = 3, noise: float = 0.0):
    """Clusters of features, those of a class together."""
    generator = torch.Generator().manual_seed(images)
    centres = torch.randn(classes, channels, generator=generator)
    labels = torch.arange(classes).repeat_interleave(images)
    features = centres[labels] + noise * torch.randn(
        len(labels), channels, generator=generator
    )
    return features, labels


@pytest.mark.parametrize('images, channels', [(2, 11), (20, 5)])
@pytest.mark.parametrize('strength', [2.0**-10, 1.0, 2.0**19])
def test_the_weights_solve_the_normal_equations(images, channels, strength):
    features, labels = problem(images, channels, noise=1.0)
    got = fit_ridge(features, labels, 3).weights(strength).numpy()
    x = features.double().numpy()
    x = (x - x.mean(0)) / (x.std(0) + 1e-5)
    x = np.concatenate((x, np.full((len(x), 1), 100.0)), 1)
    y = 2 * np.eye(3)[labels] - 1
    expected = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    # Between the smallest strength and 100 squared lie seven digits of sixteen.
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_predictions_are_those_of_the_weights():
    features, labels = problem(20, 5, noise=1.0)
    path = fit_ridge(features, labels, 3)
    new = problem(3000, 5, noise=1.0)[0]  # More than one block.
    x = torch.cat(((new - path.mean) / path.std, torch.full((9000, 1), 100.0)), 1)
    expected = (x @ path.weights(4.0)).argmax(1)
    assert (path.predict(new, 4.0) == expected).float().mean() > 0.999


def test_a_channel_that_is_constant_does_no_harm():
    features, labels = problem(4, 6, noise=0.1)
    features[:, 2] = 7
    path = fit_ridge(features, labels, 3)
    assert path.weights(1.0).isfinite().all()
    assert path.accuracy(features, labels, 1.0) == 100


def test_images_are_drawn_once_each_and_the_first_ones_stay():
    labels = np.repeat([0, 1, 2], [9, 4, 30])
    drawn = draw_images(labels, 3, 4, seed=1)
    assert (labels[drawn] == np.arange(3)[:, None]).all()
    assert len(np.unique(drawn)) == drawn.size
    assert (draw_images(labels, 3, 2, seed=1) == drawn[:, :2]).all()
    assert (draw_images(labels, 3, 4, seed=2) != drawn).any()
    with pytest.raises(ValueError, match='at least 5 images.*got 4 of class 1'):
        draw_images(labels, 3, 5, seed=1)


def test_shots_are_the_first_images_of_each_class():
    features, labels = problem(6, 4, noise=0.5)
    test = LabelledFeatures(*problem(50, 4, noise=0.5))
    result = evaluate_shots([LabelledFeatures(features, labels)], 2, test, 3, (1.0,))
    first = torch.tensor([0, 1, 6, 7, 12, 13])
    path = fit_ridge(features[first], labels[first], 3)
    assert result.accuracies == (path.accuracy(test.features, test.labels, 1.0),)
    assert result.std is None
    with pytest.raises(ValueError, match='at most 6, got 7'):
        evaluate_shots([LabelledFeatures(features, labels)], 7, test, 3, (1.0,))


def test_the_strength_is_that_of_the_best_mean_on_the_images_that_choose():
    draws = [LabelledFeatures(*problem(n, 8, noise=2.0)) for n in (5, 5)]
    held = [LabelledFeatures(*problem(n, 8, noise=2.0)) for n in (7, 8)]
    test = LabelledFeatures(*problem(5, 8, noise=2.0))
    strengths = (1e-3, 1.0, 1e3, 1e6)
    result = evaluate_shots(draws, 5, test, 3, strengths, held)
    paths = [fit_ridge(d.features, d.labels, 3) for d in draws]
    means = [
        np.mean(
            [
                p.accuracy(h.features, h.labels, s)
                for p, h in zip(paths, held, strict=True)
            ]
        )
        for s in strengths
    ]
    assert result.strength == strengths[int(np.argmax(means))]
    # Chosen on the images that are tested, it cannot be worse there.
    best = evaluate_shots(draws, 5, test, 3, strengths)
    each = [evaluate_shots(draws, 5, test, 3, (s,)).mean for s in strengths]
    assert best.mean == max(each) >= result.mean


@pytest.mark.parametrize(
    'features, labels',
    [
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long)),
        (torch.full((2, 4), float('nan')), torch.zeros(2, dtype=torch.long)),
    ],
)
def test_features_that_cannot_be_fitted(features, labels):
    with pytest.raises(ValueError, match='features: expected'):
        fit_ridge(features, labels, 3)


def resnet(head: dict | None, neck: bool = True):
    config = dict(
        type='ImageClassifier', backbone=dict(type='ResNet', depth=18), head=head
    )
    if neck:
        config['neck'] = dict(type='GlobalAveragePooling')
    return MODELS.build(config).eval()


def test_features_are_what_the_last_layer_sees():
    model = resnet(dict(type='LinearClsHead', num_classes=4, in_channels=512))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = image_features(model, images)
        assert torch.equal(model.head.fc(features), model(images, mode='tensor'))
        bare = resnet(None, neck=False)
        bare.backbone.load_state_dict(model.backbone.state_dict())
        torch.testing.assert_close(image_features(bare, images), features)


def test_features_of_experts_stand_beside_each_other():
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=3,
            backbone=dict(type='RIDEResNetCIFAR', depth=20),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='MultiExpertHead', num_classes=4, in_channels=48),
        )
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = image_features(model, images)
        each = model.extract_feat(images)
    assert torch.equal(features, torch.cat([e.flatten(1) for e in each], 1))


def test_no_images_have_no_features():
    with pytest.raises(ValueError, match='expected images, got none'):
        collect_features(resnet(None), [])
