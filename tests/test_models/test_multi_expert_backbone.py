"""Any backbone with experts: one expert is the plain network, several are routed."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn.modules.batchnorm import _BatchNorm

from ride_mm.analysis import part_costs
from ride_mm.models.backbones import MultiExpertBackbone
from ride_mm.models.backbones.plain_weights import leading_part
from ride_mm.models.backbones.staging import STAGINGS, staging_for, staging_of
from ride_mm.models.layers import MoELayer, modules_wanting_class_counts
from ride_mm.models.teacher import Teacher

init_default_scope('mmpretrain')

SIZE = 64
SMALL = dict(stem_channels=16, base_channels=16)
WINDOWS = dict(
    arch=dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 4]),
    window_size=2,
)
BLOCKS = dict(
    arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
    img_size=SIZE,
)
POOLS = dict(arch=dict(layers=[1, 1, 2, 1], embed_dims=[8, 16, 40, 64]))
BASES = [
    dict(type='ResNet', depth=18, **SMALL),
    dict(type='ResNet', depth=50, **SMALL),
    dict(type='ResNetV1c', depth=50, **SMALL),
    dict(type='ResNetV1d', depth=50, drop_path_rate=0.1, **SMALL),
    dict(type='ResNeXt', depth=50, groups=4, **SMALL),
    dict(type='SEResNet', depth=50, **SMALL),
    dict(type='SEResNeXt', depth=50, groups=4, **SMALL),
    dict(type='Res2Net', depth=50, **SMALL),
    dict(type='ResNeSt', depth=50, **SMALL),
    dict(type='RegNet', arch='regnetx_400mf'),
    dict(type='ConvNeXt', arch='atto'),
    dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False),
    dict(
        type='HorNet',
        arch=dict(
            base_dim=16,
            depths=[1, 1, 2, 1],
            orders=[2, 3, 4, 5],
            dw_cfg=[dict(type='DW', kernel_size=7)] * 4,
        ),
    ),
    dict(type='EdgeNeXt', arch='xxsmall'),
    dict(type='PoolFormer', **POOLS),
    dict(type='RIFormer', **POOLS),
    dict(type='VAN', arch='tiny'),
    dict(type='TinyViT', arch='5m', img_size=(SIZE, SIZE), window_size=[2] * 4),
    dict(type='RepVGG', arch='A0', out_indices=(3,)),
    dict(type='MobileOne', arch='s0'),
    dict(type='CSPDarkNet', depth=53),
    dict(type='CSPResNet', depth=50),
    dict(type='CSPResNeXt', depth=50),
    dict(
        type='DenseNet', arch=dict(growth_rate=8, depths=[2, 2, 3, 2], init_channels=16)
    ),
    dict(type='MobileNetV2'),
    dict(type='MobileNetV3', arch='small'),
    dict(type='MobileNetV3', arch='large'),
    dict(type='EfficientNet', arch='b0'),
    dict(type='EfficientNetV2', arch='b0'),
    dict(type='ShuffleNetV2'),
    dict(type='MobileViT', arch='xx_small'),
    dict(type='SwinTransformer', img_size=SIZE, **WINDOWS),
    dict(
        type='SwinTransformer',
        img_size=SIZE,
        use_abs_pos_embed=True,
        drop_rate=0.1,
        **WINDOWS,
    ),
    dict(
        type='SwinTransformerV2',
        img_size=SIZE,
        **WINDOWS | dict(arch={**WINDOWS['arch'], 'extra_norm_every_n_blocks': 0}),
    ),
    dict(type='DaViT', **WINDOWS),
    dict(type='VisionTransformer', **BLOCKS),
    dict(
        type='VisionTransformer',
        out_type='avg_featmap',
        pre_norm=True,
        final_norm=False,
        **BLOCKS,
    ),
    dict(type='DeiT3', **BLOCKS),
    dict(type='BEiTViT', **BLOCKS),
    dict(
        type='BEiTViT',
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        use_abs_pos_emb=True,
        **BLOCKS,
    ),
    dict(
        type='VMoE', moe=dict(num_experts=4, images_per_group=1), pool='gap', **BLOCKS
    ),
]
# What MMPretrain computes anew in place of loading it.
RECOMPUTED = 'relative_coords_table', 'relative_position_index'
SWIN = dict(type='SwinTransformer', img_size=SIZE, **WINDOWS)
VIT = dict(type='VisionTransformer', **BLOCKS)
FEW = [
    dict(type='RegNet', arch='regnetx_400mf'),
    dict(type='ConvNeXt', arch='atto'),
    dict(type='MobileNetV3', arch='small'),
    SWIN,
    VIT,
]
FIXED_WIDTH = {
    'HorNet',
    'CSPDarkNet',
    'CSPResNet',
    'CSPResNeXt',
    'DenseNet',
    'ShuffleNetV2',
    'MobileViT',
    'SwinTransformerV2',
    'VisionTransformer',
    'DeiT3',
    'BEiTViT',
    'VMoE',
}


def few_fast(bases):
    """Some backbones, most of them as slow tests."""
    slow = pytest.mark.slow
    return [base if base in FEW else pytest.param(base, marks=slow) for base in bases]


OTHERS = [base for base in BASES if base not in FEW]
ALL = few_fast([*FEW, *OTHERS])
NARROWING = few_fast([b for b in (*FEW, *OTHERS) if b['type'] not in FIXED_WIDTH])


def name_of(base):
    return '-'.join(
        str(value) for value in base.values() if not isinstance(value, dict)
    )


def randomised(net):
    """Non-trivial BatchNorm statistics, zero-initialised gains and embeddings."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point() and tensor.ndim <= 1 or not tensor.any():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.data.copy_(0.5 + noise if tensor.is_floating_point() else tensor)
    return net


def multi(base, **settings):
    settings = dict(num_experts=2, shared_stages=2) | settings
    return MODELS.build(dict(type='MultiExpertBackbone', base=base, **settings))


def images(n=2, size=SIZE):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def calibrated(net):
    """BatchNorm's statistics of images, else all images look alike to deep networks."""
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    net.train()
    net(images(4))
    return net


def test_every_backbone_that_is_claimed_is_tested():
    assert {base['type'] for base in BASES} == set(STAGINGS)


@torch.no_grad()
@pytest.mark.parametrize('base', BASES, ids=name_of)
def test_one_expert_of_full_width_is_the_plain_network(base):
    torch.manual_seed(0)
    plain = calibrated(randomised(MODELS.build(dict(base))))
    backbone = multi(base, num_experts=1, shared_stages=1 + len(base) % 2)
    keys = backbone.load_state_dict(dict(plain.state_dict()), strict=False)
    assert not keys.unexpected_keys
    assert all(name.endswith(RECOMPUTED) for name in keys.missing_keys)
    # Not before: in eval mode attention may keep what it has computed of its weights.
    plain.eval()
    backbone.eval()
    expected = plain(images())[-1]
    (got,) = backbone(images())
    assert got.shape[1] == backbone.out_channels
    assert backbone.pools == (got.ndim == 2)
    assert backbone.staging.narrows == (base['type'] not in FIXED_WIDTH)
    scale = expected.abs().max()
    torch.testing.assert_close(got / scale, expected / scale, rtol=0, atol=1e-5)
    assert scale > 0
    assert not backbone(-images())[0].equal(got)


def classifier(base, router=True, distill=None, **settings):
    backbone = dict(type='MultiExpertBackbone', base=base, shared_stages=2, **settings)
    pools = MODELS.build(dict(backbone, num_experts=1)).pools
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=3,
            distill=distill,
            backbone=backbone,
            neck=None if pools else dict(type='GlobalAveragePooling'),
            head=dict(
                type='RouterHead' if router else 'MultiExpertHead',
                num_classes=5,
                loss=dict(type='LDAMLoss'),
                diversity=dict(type='DiversityLoss', factor=-0.2, class_factor=0.02),
            ),
        )
    )
    for _, module in modules_wanting_class_counts(model):
        module.set_class_counts([9, 7, 5, 3, 1])
    return model


@torch.no_grad()
def routed_and_masked(model, batch):
    """Route images so that some stop after each of three experts.

    Returns:
        The decision, and the mean of the logits of the same experts, each of which was
        asked about all images, (N, C).
    """
    head = model.head
    head.set_thresholds(0.0)
    head.keep_expert_logits = True
    first, second = model.route(batch).router_scores.T
    head.keep_expert_logits = False
    going = first > first.quantile(0.5)
    limits = [first.quantile(0.5), second[going].quantile(0.5)]
    head.threshold_logits.copy_(torch.stack(limits))
    routed = model.route(batch)
    assert (routed.num_experts > 1).equal(going)
    every = head.expert_logits(model.extract_feat(batch))
    masked = [every[:k, n].mean(0) for n, k in enumerate(routed.num_experts)]
    return routed, torch.stack(masked)


@pytest.mark.parametrize('base', ALL, ids=name_of)
def test_routed_backbones(base):
    """Each image gets the mean of the experts it asks: all, the first, or some."""
    torch.manual_seed(0)
    model = classifier(base)
    calibrated(randomised(model.backbone))
    model.eval()
    samples = [DataSample() for _ in range(4)]
    with torch.no_grad():
        every = model.head.expert_logits(model.extract_feat(images(4)))
        assert not every[0].allclose(every[1])
        model.head.set_thresholds(0.0)
        scale = every.abs().max()
        got = model(images(4), mode='tensor')
        torch.testing.assert_close(
            got / scale, every.mean(0) / scale, rtol=0, atol=1e-5
        )
        model.head.set_thresholds(1.0)
        got = model.predict(images(4), samples)
        assert [sample.num_experts for sample in got] == [1] * 4
        torch.testing.assert_close(
            torch.stack([sample.pred_score for sample in got]),
            every[0].softmax(1),
            rtol=1e-4,
            atol=1e-5,
        )
    routed, masked = routed_and_masked(model, images(4))
    assert sorted(routed.num_experts.tolist()) == [1, 1, 2, 3]
    torch.testing.assert_close(routed.logits / scale, masked / scale, rtol=0, atol=1e-5)
    costs = part_costs(model, (3, SIZE, SIZE))
    assert costs.trunk > 0
    assert len(set(costs.experts)) == 1 and costs.experts[0] > 0


def vmoe_without_room(images_per_group):
    moe = dict(num_experts=4, router=dict(capacity_factor=0.5))
    moe['images_per_group'] = images_per_group
    return dict(type='VMoE', moe=moe, pool='gap', **BLOCKS)


def test_images_that_stop_change_others_unless_each_is_a_group():
    """Room in V-MoE's experts is shared by a group's images, and some leave it."""
    torch.manual_seed(0)
    model = classifier(vmoe_without_room(1))
    randomised(model.backbone)
    model.eval()
    routed, masked = routed_and_masked(model, images(8))
    assert set(routed.num_experts.tolist()) == {1, 2, 3}
    scale = masked.abs().max()
    torch.testing.assert_close(routed.logits / scale, masked / scale, rtol=0, atol=1e-5)
    for layer in model.backbone.modules():
        if isinstance(layer, MoELayer):
            layer.images_per_group = 4
    routed, masked = routed_and_masked(model, images(8))
    changed = ((routed.logits - masked).abs() > 1e-2 * scale).any(1)
    assert changed.any() and not changed[routed.num_experts == 1].any()


def test_routers_refuse_groups_of_images():
    classifier(vmoe_without_room(4), router=False)
    message = 'images_per_group: expected 1 with a RouterHead, .* got 4'
    with pytest.raises(ValueError, match=message):
        classifier(vmoe_without_room(4))


@pytest.mark.parametrize('base', ALL, ids=name_of)
def test_every_parameter_learns(base):
    model = classifier(base, router=False)
    samples = [DataSample().set_gt_label(i % 5) for i in range(4)]
    model.train()
    losses = model.loss(images(4), samples)
    (losses['loss_cls'] + losses['loss_div']).backward()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert idle == []
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert all(base['type'] == 'DeiT3' and '.ln2.' in name for name in frozen)


@pytest.mark.parametrize('base', [FEW[1], VIT], ids=name_of)
def test_distillation_between_different_backbones(base):
    student = classifier(base, router=False, distill=dict(kd=dict(type='KDLoss')))
    student.teacher = Teacher(classifier(FEW[2], router=False))
    samples = [DataSample().set_gt_label(i % 5) for i in range(4)]
    losses = student.loss(images(4), samples)
    losses['loss_kd'].backward()
    learning = [p for p in student.backbone.parameters() if p.grad is not None]
    assert losses['loss_kd'] > 0 and any(p.grad.any() for p in learning)
    assert all(p.grad is None for p in student.teacher.classifier.parameters())


@pytest.mark.parametrize('base', ALL, ids=name_of)
def test_frozen_stages(base):
    count = len(staging_of(MODELS.build(dict(base))).stages)
    model = multi(base, frozen_stages=2, norm_eval=True)
    model.train()
    learning = {n.split('.')[0] for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {'experts'}
    parts = [part for stage in model.stages()[:3] for part in stage]
    parts = [part for part in parts if isinstance(part, torch.nn.Module)]
    assert parts and not any(m.training for part in parts for m in part.modules())
    model = multi(base, frozen_stages=count)
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match=f'frozen_stages: expected -1 to {count}'):
        multi(base, frozen_stages=count + 1)


@pytest.mark.parametrize('base', NARROWING, ids=name_of)
def test_narrow_experts(base):
    full = multi(base)
    narrow = multi(base, expert_width=0.5)
    sizes = [
        sum(p.numel() for p in model.experts[0].parameters())
        for model in (full, narrow)
    ]
    assert 0.15 < sizes[1] / sizes[0] < 0.6
    narrow.eval()
    with torch.no_grad():
        out = narrow(images())
    assert out[1].shape[1] == narrow.out_channels < full.out_channels or (
        base['type'] == 'MobileNetV2'  # Whose last convolution has the same width.
    )
    plain = randomised(MODELS.build(dict(base)))
    before = copy.deepcopy(narrow.experts.state_dict())
    narrow.load_state_dict(plain.state_dict(), strict=False)
    kept = 0
    for name, tensor in narrow.trunk.state_dict().items():
        same = tensor.equal(plain.state_dict()[name])
        # The last merging of a Swin, which leads to the experts, is left out.
        assert same or '.downsample.' in name or name.endswith(RECOMPUTED)
        kept += same
    assert kept > 5
    changed = [
        name
        for name, tensor in narrow.experts.state_dict().items()
        if not tensor.equal(before[name])
    ]
    assert all(before[n].shape == plain.state_dict()[n[2:]].shape for n in changed)


@pytest.mark.parametrize('base', NARROWING, ids=name_of)
def test_narrow_experts_of_the_first_channels(base):
    plain = randomised(MODELS.build(dict(base)))
    if not staging_of(plain).slices:
        with pytest.raises(ValueError, match="narrow_init: expected 'fresh' for"):
            multi(base, expert_width=0.5, narrow_init='slice')
        return
    backbone = multi(base, expert_width=0.5, narrow_init='slice')
    keys = backbone.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.endswith(RECOMPUTED) for name in keys.missing_keys)
    state, cut = plain.state_dict(), 0
    for name, tensor in backbone.experts[1].state_dict().items():
        full = state[name]
        if '.qkv.' in name or name.endswith('attn.w_msa.proj.weight'):
            continue  # By heads, see below.
        assert tensor.equal(full[tuple(slice(size) for size in tensor.shape)])
        cut += tensor.shape != full.shape
    assert cut > 5


def test_heads_are_cut_one_by_one():
    """Three blocks (q, k, v) of two heads of four channels, of which two are left."""
    plain = torch.arange(24.0)
    got = leading_part(plain, torch.empty(12), {0: 6})
    assert got.tolist() == [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21]
    assert leading_part(plain, torch.empty(30), {}) is None
    assert leading_part(plain, torch.empty(4, 3), {}) is None
    assert leading_part(plain, torch.empty(10), {0: 6}) is None


def test_swin_s_heads_are_cut_one_by_one():
    base = SWIN
    plain = randomised(MODELS.build(dict(base)))
    backbone = multi(base, expert_width=0.5, narrow_init='slice')
    backbone.load_state_dict(plain.state_dict(), strict=False)
    name = 'stages.2.blocks.1.attn.w_msa.qkv.weight'
    full = plain.state_dict()[name]  # 64 channels in 2 heads.
    expected = full.view(3, 2, 32, 64)[:, :, :16, :32].reshape(96, 32)
    assert backbone.experts[0].state_dict()[name].equal(expected)


def test_the_shared_merging_of_swin_leads_to_the_experts_width():
    """As in RIDE-Swin: stages of 3/4 width with as many heads."""
    backbone = multi(dict(type='SwinTransformer', arch='tiny'), expert_width=0.75)
    assert backbone.trunk.stages[1].downsample.reduction.out_features == 288
    assert backbone.experts[0].stages[3].blocks[0].attn.w_msa.num_heads == 24
    assert backbone.out_channels == 576
    assert not hasattr(backbone.trunk.stages[2], 'blocks')


def test_what_was_taken_is_told(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'ride_mm.models.backbones.expert_backbone.print_log',
        lambda message, **_: lines.append(message),
    )
    base = dict(type='ResNet', depth=18)
    plain = ResNet(depth=18).state_dict()
    multi(base, expert_width=0.5).load_state_dict(dict(plain), strict=False)
    assert 'trunk takes 60 of 60 tensors; each of 2 experts takes 0 of 60' in lines[0]
    assert (
        'left as initialised: layer3 (layer3.0.conv1.weight: expected (128,' in lines[0]
    )
    sliced = multi(base, expert_width=0.5, narrow_init='slice')
    sliced.load_state_dict(dict(plain))
    assert 'experts takes 60 of 60 tensors, 50 of them cut to its width' in lines[1]


def test_own_checkpoints_load_as_they_are():
    base = dict(type='MobileNetV3', arch='small')
    first, second = (multi(base, expert_width=0.75) for _ in range(2))
    second.load_state_dict(first.state_dict())
    for name, tensor in first.state_dict().items():
        assert second.state_dict()[name].equal(tensor)


@pytest.mark.parametrize('inside', [True, False])
def test_pretrained_weights_by_init_cfg(inside, tmp_path):
    base = dict(type='ResNet', depth=18)
    plain = randomised(MODELS.build(dict(base)))
    torch.save(
        {f'backbone.{k}': v for k, v in plain.state_dict().items()}, tmp_path / 'p'
    )
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'p'), prefix='backbone.'
    )
    backbone = (
        multi(dict(base, init_cfg=init_cfg))
        if inside
        else multi(base, init_cfg=init_cfg)
    )
    backbone.init_weights()
    for e in range(2):
        assert backbone.experts[e].layer4[1].bn2.bias.equal(plain.layer4[1].bn2.bias)
    assert backbone.trunk.bn1.running_var.equal(plain.bn1.running_var)


@torch.no_grad()
def test_weights_of_another_image_size_are_resized():
    small = dict(VIT, img_size=32)
    plain = randomised(MODELS.build(small))
    backbone = multi(VIT, num_experts=1)
    backbone.load_state_dict(plain.state_dict())
    again = MODELS.build(dict(VIT))
    again.load_state_dict(plain.state_dict())
    again.eval()
    assert plain.pos_embed.shape != again.pos_embed.shape
    backbone.eval()
    torch.testing.assert_close(backbone(images())[0], again(images())[0])


def test_learning_rates_by_depth_follow_the_plain_network():
    backbone = multi(dict(type='SwinTransformer', arch='tiny'))
    plain = MODELS.build(dict(type='SwinTransformer', arch='tiny'))
    for ours, theirs in (
        ('backbone.trunk.patch_embed.norm.bias', 'backbone.patch_embed.norm.bias'),
        ('backbone.experts.1.stages.3.blocks.0.x', 'backbone.stages.3.blocks.0.x'),
        ('backbone.experts.0.norm3.weight', 'backbone.norm3.weight'),
        ('head.classifiers.0.weight', 'head.fc.weight'),
    ):
        expected = plain.get_layer_depth(theirs, 'backbone.')
        assert backbone.get_layer_depth(ours, 'backbone.') == expected


@pytest.mark.parametrize('base', [FEW[1], SWIN, VIT], ids=name_of)
def test_learning_rates_decay_with_depth(base):
    model = classifier(base, router=False)
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor='LearningRateDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    rate_of = {
        p: group['lr'] for group in wrapper.param_groups for p in group['params']
    }
    rates = {name: rate_of[p] for name, p in model.named_parameters()}
    assert all(rates[name] == 1 for name in rates if name.startswith('head.'))
    trunk, *experts = (
        [rates[name] for name in rates if name.startswith(f'backbone.{part}.')]
        for part in ('trunk', 'experts.0', 'experts.1')
    )
    assert min(trunk) < min(experts[0]) < max(experts[0]) <= 1
    assert experts[0] == experts[1]
    with pytest.raises(
        TypeError, match='knows the depth of its layers, got MobileNetV3'
    ):
        multi(FEW[2]).get_layer_depth('backbone.trunk.layer0.x', 'backbone.')


def test_a_derived_class_is_known_unless_its_forward_differs():
    class Derived(ResNet):
        pass

    class Other(ResNet):
        def forward(self, x):
            return super().forward(-x)

    assert len(staging_of(Derived(depth=18)).stages) == 4
    with pytest.raises(ValueError, match='base: expected one of BEiTViT, .* got Other'):
        staging_of(Other(depth=18))


def test_another_backbone_can_be_made_known(monkeypatch):
    monkeypatch.setattr('ride_mm.models.backbones.staging.base.STAGINGS', {})
    with pytest.raises(ValueError, match='got ResNet'):
        staging_of(ResNet(depth=18))
    marker = object()
    staging_for('ResNet')(lambda net: marker)
    assert staging_of(ResNet(depth=18)) is marker


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(shared_stages=4), 'shared_stages: expected a whole number from 0 to 3'),
        (dict(shared_stages=2.0), 'shared_stages: expected a whole number .* got 2.0'),
        (dict(expert_width=0), r'expert_width: expected a number in \(0, 1\], got 0'),
        (dict(expert_width=1.5), r'expert_width: expected a number in \(0, 1\]'),
        (dict(expert_width='0.5'), r"a number in \(0, 1\], got '0.5'"),
        (
            dict(base=dict(type='SwinTransformer', img_size=64), expert_width=0.75),
            r'^The input shape \(4, 4\) is smaller than the window size',
        ),
        (
            dict(base=dict(type='PoolFormer', arch='s12'), expert_width=0.4),
            'expected stages of different widths, got two alike',
        ),
        (dict(narrow_init='none'), "narrow_init: expected one of .* got 'none'"),
        (dict(num_experts=0), 'num_experts: expected a whole number >= 1'),
        (
            dict(base='ResNet'),
            "base: expected the config of a backbone .* got 'ResNet'",
        ),
        (dict(base=dict(type='AlexNet')), 'base: expected one of .* got AlexNet'),
        (
            dict(base=dict(type='ResNet', depth=18, frozen_stages=1)),
            r'base.frozen_stages: expected it beside base',
        ),
        (
            dict(base=dict(type='ResNeXt', depth=50), expert_width=0.3),
            'expert_width: expected a width with which ResNeXt can be built, got 0.3',
        ),
        (
            dict(base=SWIN, expert_width=0.55),
            'expected channels that 2 heads divide, got 35',
        ),
        (dict(base=VIT, shared_stages=0), 'expected a whole number from 1 to 3'),
        (dict(base=SWIN, shared_stages=0), 'expected a whole number from 1 to 3'),
        (
            dict(base=VIT, expert_width=0.5),
            'expert_width: expected 1.0 for VisionTransformer, whose stages',
        ),
        (
            dict(base=dict(VIT, out_type='featmap')),
            "base.out_type: expected one of .* got 'featmap'",
        ),
    ],
)
def test_bad_settings(settings, message):
    arguments = dict(base=dict(type='ResNet', depth=18), num_experts=2) | settings
    with pytest.raises((ValueError, AssertionError), match=message):
        MultiExpertBackbone(**arguments)


def test_a_backbone_that_pools_takes_no_neck():
    backbone = dict(type='MultiExpertBackbone', base=dict(type='ConvNeXt', arch='atto'))
    head = dict(type='MultiExpertHead', num_classes=3)
    with pytest.raises(ValueError, match='neck: expected None, for the backbone pools'):
        MODELS.build(
            dict(
                type='RIDEClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=head,
            )
        )
