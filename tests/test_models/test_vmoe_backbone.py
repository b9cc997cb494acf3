"""The V-MoE backbone in its classifiers: learning, checkpointing, sizes, upcycling."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.utils.checkpoint import checkpoint

import ride_mm  # noqa: F401  (registers the models)
from ride_mm.models.backbones.vmoe_blocks import moe_blocks
from ride_mm.models.layers import MoELayer
from ride_mm.models.layers.position_embedding import sincos2d_positions
from ride_mm.models.teacher import Teacher

ARCH = dict(embed_dims=32, num_layers=4, num_heads=4, feedforward_channels=64)


def backbone(**settings) -> dict:
    moe = dict(num_experts=4, images_per_group=4, router=dict(capacity_factor=1.5))
    plain = dict(type='VMoE', arch=ARCH, img_size=16, patch_size=4, moe=moe)
    return {**plain, **settings}


def classifier(**settings) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='VMoEClassifier',
            backbone=backbone(**settings),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
        )
    )
    model.backbone.init_weights()
    return model


def ride(num_experts: int = 2, **distill: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=num_experts,
            distill=distill,
            backbone=dict(type='MultiExpertBackbone', base=backbone(), shared_stages=2),
            head=dict(
                type='MultiExpertHead',
                num_classes=5,
                loss=dict(type='LDAMLoss'),
                diversity=dict(type='DiversityLoss'),
            ),
        )
    )
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts([40, 20, 10, 5, 2])
    return model


def batch(images: int = 8) -> tuple[torch.Tensor, list[DataSample]]:
    generator = torch.Generator().manual_seed(1)
    samples = [DataSample().set_gt_label(n % 5) for n in range(images)]
    return torch.randn(images, 3, 16, 16, generator=generator), samples


def learn(model: torch.nn.Module) -> tuple[dict, dict[str, torch.Tensor]]:
    torch.manual_seed(2)
    losses = model.loss(*batch())
    model.parse_losses(losses)[0].backward()
    return losses, {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    'build',
    [
        classifier,
        lambda: classifier(pool='gap', qk_norm=True, drop_rate=0.1),
        lambda: classifier(pool='map', pos_embed='sincos2d', attn_drop_rate=0.1),
        lambda: classifier(pos_embed='none', drop_path_rate=0.1, tanh_gelu=False),
        lambda: classifier(
            moe=dict(router=dict(type='ExpertsChooseRouter'), images_per_group=1)
        ),
        lambda: classifier(moe=None),
        ride,
    ],
    ids=['token', 'gap', 'map', 'none', 'experts_choose', 'dense', 'ride'],
)
def test_every_parameter_gets_a_gradient(build):
    model = build().train()
    if model.backbone.moe_blocks if hasattr(model.backbone, 'moe_blocks') else False:
        assert 'moe_dropped' in model.loss(*batch())
    _, grads = learn(model)
    without = [n for n, g in grads.items() if g is None or not g.abs().sum() > 0]
    # Softmax does not see what is added to all keys.
    assert [n for n in without if not n.endswith('.k.bias')] == []
    assert model(batch()[0]).shape == (8, 5)


def test_a_student_s_routers_learn_from_their_own_losses():
    plain = ride().eval().loss(*batch())
    student = ride(kd=dict(type='KDLoss', form='paper')).eval()
    student.teacher = Teacher(ride(num_experts=3))
    losses = student.loss(*batch())
    assert set(losses) == {*plain, 'loss_kd'} and 'loss_moe' in plain
    # The teacher has routers, too, whose losses are nobody's.
    torch.testing.assert_close(losses['loss_moe'], plain['loss_moe'])


def test_losses_of_routers_are_part_of_the_total():
    losses, _ = learn(classifier())
    total, log = classifier().parse_losses(losses)
    torch.testing.assert_close(total, losses['loss'] + losses['loss_moe'])
    assert log['loss_moe'] > 0
    assert {'moe_importance', 'moe_load', 'moe_gshard', 'moe_dropped'} <= set(log)
    dense, _ = learn(classifier(moe=None))
    assert set(dense) == {'loss'}


def test_under_ride_the_losses_of_all_routers_are_added():
    model = ride(num_experts=3)
    seen = []
    for module in model.modules():
        if hasattr(module, 'images_per_group'):
            module.router.register_forward_hook(lambda *args: seen.append(args[0]))
    losses, _ = learn(model)
    # One in the trunk, one of each expert.
    assert len(seen) == len(set(seen)) == 4
    total = model.parse_losses(losses)[0]
    named = [value for name, value in losses.items() if 'loss' in name]
    torch.testing.assert_close(total, sum(named))
    assert len(model.predict(batch()[0])) == 8


def test_checkpointing_changes_neither_losses_nor_gradients():
    plain, grads = learn(classifier().train())
    again, same = learn(classifier(with_cp=True).train())
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value)
    for name, grad in grads.items():
        torch.testing.assert_close(same[name], grad)


def test_the_losses_of_frozen_routers_are_no_part_of_the_total():
    model = classifier().train()
    model.backbone.requires_grad_(False)
    losses = model.loss(*batch())
    assert 'loss_moe' not in losses and losses['moe_importance'] >= 0
    with torch.no_grad():
        assert model.loss(*batch())['loss_moe'] > 0
    for layer in model.backbone.modules():
        if isinstance(layer, MoELayer):
            layer.router.requires_grad_(True)
    assert model.loss(*batch())['loss_moe'].requires_grad


def test_a_checkpointing_that_loses_the_losses_is_refused():
    model = classifier().train()
    block = model.backbone.layers[1]
    block.forward = lambda x, f=block.forward: checkpoint(f, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match='set model.backbone.with_cp=True'):
        model.loss(*batch())


def test_a_teacher_s_routers_are_not_the_student_s():
    model, teacher = classifier(), classifier()
    expected = model.eval().loss(*batch())['loss_moe']
    extract = model.extract_feat

    def with_teacher(*args, **kwargs):
        teacher.backbone(args[0])
        return extract(*args, **kwargs)

    model.extract_feat = with_teacher
    torch.testing.assert_close(model.loss(*batch())['loss_moe'], expected)


def test_mixed_precision_keeps_losses_of_routers_in_full():
    plain = classifier().eval().loss(*batch())['loss_moe']
    with torch.autocast('cpu', torch.bfloat16):
        mixed = classifier().eval().loss(*batch())['loss_moe']
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=0.2, atol=1e-3)


def test_one_expert_of_ride_equals_the_plain_backbone():
    plain = MODELS.build(backbone()).eval()
    several = MODELS.build(
        dict(type='MultiExpertBackbone', base=backbone(), num_experts=2)
    ).eval()
    several.load_state_dict(plain.state_dict())
    images = batch()[0]
    for feature in several(images):
        torch.testing.assert_close(feature, plain(images)[0])


def test_experts_that_are_copies_of_dense_layers_are_the_dense_network():
    vit = MODELS.build(
        dict(type='mmpretrain.VisionTransformer', arch=ARCH, img_size=16, patch_size=4)
    )
    torch.manual_seed(0)
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    router = dict(num_selected=2, normalize=True, capacity_factor=8.0)
    moe = dict(num_experts=4, router=router)
    net = MODELS.build(backbone(moe=moe, tanh_gelu=False)).eval()
    keys = net.load_state_dict(vit.state_dict(), strict=False)
    assert keys.unexpected_keys == []
    assert keys.missing_keys == [f'layers.{i}.ffn.router.weight' for i in (1, 3)]
    images = batch()[0]
    vit.eval()
    torch.testing.assert_close(net(images)[0], vit(images)[0], rtol=1e-4, atol=1e-4)
    wide = backbone(arch=dict(ARCH, feedforward_channels=48))
    with pytest.raises(ValueError, match='of the size of the experts'):
        MODELS.build(wide).load_state_dict(vit.state_dict(), strict=False)


def test_larger_images_are_taken_with_their_positions_resized():
    net = MODELS.build(backbone()).eval()
    larger = MODELS.build(backbone(img_size=24)).eval()
    larger.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(larger(images)[0], net(images)[0])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(img_size=18), 'img_size: .*multiples of the patch size 4x4, got 18x18'),
        (dict(arch='xl'), "arch: expected one of s, b, l, h .*got 'xl'"),
        (dict(arch=dict(ARCH, num_heads=5)), 'heads that divide embed_dims=32'),
        (dict(arch=dict(embed_dims=32)), 'arch: expected embed_dims, feedforward'),
        (dict(pool='max'), "pool: expected one of .* got 'max'"),
        (dict(pos_embed='rotary'), "pos_embed: expected one of .* got 'rotary'"),
        (dict(moe=dict(blocks='every-5')), "among 4 blocks, got 'every-5'"),
        (dict(moe=dict(blocks='first-2')), "'every-N', 'last-N' or a list"),
        (dict(moe=dict(blocks=[1, 4])), r'from 0 to 3, got \[1, 4\]'),
        (dict(moe=dict(router=dict(num_selected=9))), 'from 1 to 8'),
        (dict(frozen_stages=5), 'frozen_stages: expected -1 to 4'),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(backbone(**settings))


def test_images_that_the_patches_do_not_fit_are_refused():
    net = MODELS.build(backbone())
    with pytest.raises(ValueError, match='images: .*patch size 4x4, got 16x18'):
        net(torch.randn(1, 3, 16, 18))


def test_blocks_with_experts():
    assert moe_blocks('every-2', 8) == (1, 3, 5, 7)
    assert moe_blocks('every-3', 8) == (2, 5)
    assert moe_blocks('last-2', 8) == (5, 7)
    assert moe_blocks('last-5', 32) == (23, 25, 27, 29, 31)
    assert moe_blocks([3, 2], 4) == (2, 3)
    assert moe_blocks((), 4) == ()


def test_all_experts_start_alike_unless_told_otherwise():
    def weight(**moe):
        net = MODELS.build(backbone(moe=dict(num_experts=3, **moe)))
        net.init_weights()
        return net.layers[1].ffn.experts.fc1.weight

    alike, other = weight(), weight(identical_experts=False)
    assert torch.equal(alike[0], alike[2])
    assert not torch.isclose(other[0], other[2]).any(0).all()
    # Xavier's rule for each expert, not for the stack.
    bound = (6 / (32 + 64)) ** 0.5
    for expert in (*alike, *other):
        assert 0.9 * bound < expert.abs().max() <= bound


def test_frozen_blocks_stay_as_they_are_and_without_noise():
    model = classifier(frozen_stages=2).train()
    layers = model.backbone.layers
    assert not layers[1].ffn.router.training and layers[3].ffn.router.training
    _, grads = learn(model)
    frozen = {n for n, g in grads.items() if g is None}
    assert {n.split('.')[1] for n in frozen} == {
        'cls_token',
        'pos_embed',
        'patch_embed',
        'layers',
    }
    assert {n.split('.')[2] for n in frozen if '.layers.' in n} == {'0', '1'}


def test_sincos_positions():
    got = sincos2d_positions((2, 3), 8)[0]
    omega = torch.tensor([1.0, 1e-4])
    for y in range(2):
        for x in range(3):
            expected = [
                (x * omega).sin(),
                (x * omega).cos(),
                (y * omega).sin(),
                (y * omega).cos(),
            ]
            torch.testing.assert_close(got[3 * y + x], torch.cat(expected))
    with pytest.raises(ValueError, match='multiple of 4 from 8 on'):
        sincos2d_positions((2, 2), 6)


def test_a_model_can_be_copied_after_a_forward_pass():
    model = classifier().train()
    model.loss(*batch())
    copied = copy.deepcopy(model).eval()
    images = batch()[0]
    assert torch.equal(copied(images), model.eval()(images))
