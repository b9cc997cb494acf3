"""Distillation: the reference's values, closed forms, and what a student holds."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from golden import tensor
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from test_losses import GOLDEN, golden_head, kl, seeded

from ride_mm.models import RIDEClassifier
from ride_mm.models.losses import (
    CRDLoss,
    KDLoss,
    Knowledge,
    PKTLoss,
    SPLoss,
    critic_loss,
    kd_loss,
    paper_kd,
    pkt_loss,
    sp_loss,
)
from ride_mm.models.teacher import Teacher

CASE = next(case for case in GOLDEN['ride'] if case['name'] == 'cifar100_distill')
CLASSES = 4


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_official_distillation_equals_the_reference():
    shape = CASE['num_experts'], CASE['batch'], CASE['num_classes']
    draw = CASE['logit_scale']
    values = tensor(CASE['name'] + '/expert_logits', shape, 'normal', draw)
    taught = tensor(CASE['name'] + '/teacher_logits', shape[1:], 'normal', draw)
    teacher = Knowledge(torch.from_numpy(taught)[None])
    head = golden_head(CASE)
    loss = KDLoss(temperature=CASE['distill_temperature'])
    assert loss.whole_loss_per_expert
    labels = torch.tensor(CASE['target'])
    for expected in CASE['results']:
        for module in head.modules():
            if getattr(module, 'deferred', False):
                active = expected['epoch'] > CASE['settings']['reweight_epoch']
                module.set_reweighting(active)
        logits = torch.from_numpy(values).requires_grad_()
        ride = head.classification_loss(logits, labels) + head.diversity_loss(logits)
        total = len(logits) * ride + loss(Knowledge(logits), teacher)
        total.backward()
        assert total.item() == pytest.approx(expected['loss'], rel=1e-5)
        norms = logits.grad.flatten(1).norm(dim=1).tolist()
        assert norms == pytest.approx(expected['grad_norm_per_expert'], rel=1e-5)
        sample = logits.grad[0, 0, :5].tolist()
        assert sample == pytest.approx(expected['grad_sample'], rel=1e-5)


def test_kd_is_its_equation():
    student, teacher = random(3, CLASSES), random(3, CLASSES, seed=1)
    p, q = (teacher / 1.5).softmax(1), (student / 1.5).softmax(1)
    expected = 1.5**2 * sum(kl(p[n], q[n]) for n in range(3)) / 3
    assert kd_loss(student, teacher, 1.5).item() == pytest.approx(expected)
    assert kd_loss(teacher, teacher, 1.5).item() == pytest.approx(0, abs=1e-12)


def test_the_paper_s_form_sums_over_experts():
    experts, teacher = random(2, 3, CLASSES), random(3, CLASSES, seed=1)
    expected = sum(kd_loss(expert, teacher, 1.5) for expert in experts)
    assert paper_kd(experts, teacher, 1.5).item() == pytest.approx(expected.item())
    loss = KDLoss(form='paper', loss_weight=0.5)
    got = loss(Knowledge(experts), Knowledge(teacher[None]))
    assert got.item() == pytest.approx(expected.item() / 2, rel=1e-6)
    assert not loss.whole_loss_per_expert


def test_a_teacher_of_experts_teaches_their_mean():
    student, teacher = Knowledge(random(1, 3, 4)), random(5, 3, 4, seed=1)
    joint = KDLoss()(student, Knowledge(teacher.mean(0, keepdim=True)))
    assert KDLoss()(student, Knowledge(teacher)).item() == pytest.approx(joint.item())


def test_pkt_is_its_equation():
    student, teacher = random(4, 3), random(4, 5, seed=1)

    def probability(x, i, j):
        def kernel(a, b):
            return (F.cosine_similarity(x[a], x[b], dim=0) + 1) / 2

        return kernel(i, j) / sum(kernel(i, k) for k in range(4) if k != i)

    expected = 0.0
    for i in range(4):
        for j in {0, 1, 2, 3} - {i}:
            p, q = probability(teacher, i, j), probability(student, i, j)
            expected += (p * (p / q).log()).item() / 16
    assert expected > 1e-4
    assert pkt_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_sp_is_its_equation():
    student, teacher = random(4, 3), random(4, 5, seed=1)

    def rows(x):
        gram = torch.tensor([[a @ b for b in x] for a in x])
        return gram / gram.square().sum(1, keepdim=True).sqrt()

    expected = (rows(student) - rows(teacher)).square().sum().item() / 16
    assert sp_loss(student, teacher).item() == pytest.approx(expected)


@pytest.mark.parametrize('loss', [pkt_loss, sp_loss])
def test_similar_neighbours_are_all_that_matters(loss):
    features = random(6, 3)
    rotation = torch.linalg.qr(random(3, 3, seed=1)).Q
    assert loss(features, 7 * features @ rotation).item() == pytest.approx(0, abs=1e-9)
    # Opposite samples, of which the kernel of PKT is zero, do not make it infinite.
    opposite = torch.tensor([[1.0, 0], [-1, 0], [0, 1]], requires_grad=True)
    loss(opposite, random(3, 2).float()).backward()
    assert torch.isfinite(opposite.grad).all()


def test_one_sample_has_no_neighbours():
    features = torch.ones(1, 3, requires_grad=True)
    loss = pkt_loss(features, torch.ones(1, 2))
    loss.backward()
    assert loss.item() == 0 and features.grad.abs().sum() == 0


def crd(num_samples: int = 5, **settings) -> CRDLoss:
    torch.manual_seed(0)
    settings = dict(temperature=0.5, embed_channels=3) | settings
    loss = CRDLoss(student_channels=4, teacher_channels=6, **settings)
    loss.set_num_samples(num_samples)
    return loss


def crd_batch(seed: int = 0) -> tuple[Knowledge, Knowledge, torch.Tensor]:
    student, teacher = random(2, 2, 2, seed=seed), random(3, 2, 2, seed=seed + 1)
    return (
        Knowledge(torch.zeros(2, 2, 3), student.float()),
        Knowledge(torch.zeros(3, 2, 3), teacher.float()),
        torch.tensor([3, 1]),
    )


def test_crd_is_its_equation():
    loss, (student, teacher, index) = crd(), crd_batch()
    embed = (
        F.normalize(loss.embed_student(student.joint_feature), dim=1),
        F.normalize(loss.embed_teacher(teacher.joint_feature), dim=1),
    )
    bank, tau, samples, negatives = loss.bank.clone(), 0.5, 5, 4
    expected = 0.0
    for anchors, others, rows in (
        (embed[0], embed[1], bank[1]),
        (embed[1], embed[0], bank[0]),
    ):
        pairs = [
            [(a @ rows[j] / tau).exp() for j in range(samples) if j != i]
            for a, i in zip(anchors, index.tolist(), strict=True)
        ]
        z = samples * sum(map(sum, pairs)).detach() / (2 * negatives)

        def h(similarity, z=z):
            return similarity / z / (similarity / z + negatives / samples)

        for anchor, other, negative in zip(anchors, others, pairs, strict=True):
            expected -= h((anchor @ other / tau).exp()).log() / 2
            expected -= sum((1 - h(value)).log() for value in negative) / 2
    got = loss(student, teacher, index)
    assert got.item() == pytest.approx(0.8 * expected.item(), rel=1e-5)
    got.backward()
    for parameter in loss.parameters():
        assert parameter.grad.abs().sum() > 0


def test_the_bank_follows_the_embeddings():
    loss, (student, teacher, index) = crd(momentum=0.25), crd_batch()
    before = loss.bank.clone()
    loss(student, teacher, index)
    new = F.normalize(loss.embed_student(student.joint_feature), dim=1)
    expected = F.normalize(0.25 * before[0, index] + 0.75 * new, dim=1)
    assert torch.allclose(loss.bank[0, index], expected)
    untouched = [0, 2, 4]
    assert torch.equal(loss.bank[:, untouched], before[:, untouched])


def test_the_constant_is_that_of_the_first_batch():
    loss = crd()
    assert loss.log_constant.isnan().all()
    loss(*crd_batch())
    first = loss.log_constant.clone()
    loss(*crd_batch(seed=7))
    assert torch.isfinite(first).all()
    assert torch.equal(loss.log_constant, first)
    other = crd()
    other(*crd_batch(seed=5))  # One that knows a constant takes that of a checkpoint.
    other.load_state_dict(loss.state_dict())
    torch.manual_seed(0)
    expected = loss(*crd_batch(seed=8))
    torch.manual_seed(0)
    torch.testing.assert_close(other(*crd_batch(seed=8)), expected)


def test_few_of_many_negatives_are_drawn():
    loss = crd(num_samples=50, num_negatives=8)
    torch.manual_seed(3)
    first = loss(*crd_batch())
    again = crd(num_samples=50, num_negatives=8)
    torch.manual_seed(3)
    assert again(*crd_batch()) == first
    assert torch.isfinite(first)


def test_a_pair_that_is_left_out_costs_nothing():
    positive, negative = torch.zeros(1), torch.tensor([[-math.inf, 0.0]])
    assert critic_loss(positive, negative).item() == pytest.approx(2 * math.log(2))


def test_the_bank_travels_in_the_state_dict():
    source, target = crd(), CRDLoss(4, 6, embed_channels=3)
    source(*crd_batch())
    target.load_state_dict(source.state_dict())
    target.set_num_samples(5)
    assert torch.equal(target.bank, source.bank)
    with pytest.raises(ValueError, match='expected 5 training samples, .* got 6'):
        target.set_num_samples(6)


@pytest.mark.parametrize('loss', [KDLoss(), PKTLoss(), SPLoss(), crd()])
def test_losses_are_fp32_under_autocast(loss):
    student, teacher, index = crd_batch()
    rest = (index,) if isinstance(loss, CRDLoss) else ()
    plain = copy.deepcopy(loss)(student, teacher, *rest)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = copy.deepcopy(loss)(student, teacher, *rest)
    assert got.dtype == torch.float32
    assert torch.equal(got, plain)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='KDLoss', temperature=0), 'temperature: expected .* got 0'),
        (dict(type='KDLoss', form='other'), "form: expected .* got 'other'"),
        (
            dict(type='CRDLoss', student_channels=4),
            'teacher_channels: expected .* got None',
        ),
        (
            dict(type='CRDLoss', student_channels=4, teacher_channels=0),
            'teacher_channels: expected .* got 0',
        ),
        (
            dict(type='CRDLoss', student_channels=4, teacher_channels=4, momentum=1),
            'momentum: expected .* got 1',
        ),
    ],
)
def test_wrong_settings_say_expected_and_got(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


def test_wrong_inputs_say_expected_and_got():
    student, teacher, index = crd_batch()
    with pytest.raises(ValueError, match="the student's 3 classes, got logits of 4"):
        KDLoss()(student, Knowledge(torch.zeros(1, 2, 4)))
    with pytest.raises(ValueError, match='teacher_channels=4, .* got 6'):
        crd()(student, student, index)
    with pytest.raises(RuntimeError, match='expected KDHook'):
        CRDLoss(4, 6)(student, teacher, index)
    with pytest.raises(ValueError, match='at least 2 training samples, got 1'):
        CRDLoss(4, 6).set_num_samples(1)


def student(num_experts: int = 2, head: str = 'MultiExpertHead', **distill):
    torch.manual_seed(0)
    return RIDEClassifier(
        num_experts=num_experts,
        distill=distill,
        backbone=dict(type='RIDEResNetCIFAR', depth=20),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type=head,
            num_classes=CLASSES,
            loss=dict(type='CrossEntropyLoss'),
            diversity=dict(type='DiversityLoss'),
        ),
    )


def stock_classifier() -> ImageClassifier:
    return ImageClassifier(
        backbone=dict(type='ResNet_CIFAR', depth=18, out_indices=(3,)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=512),
    )


def batch() -> tuple[torch.Tensor, list[DataSample]]:
    labels = [0, 1, 2, 3]
    samples = [
        DataSample(metainfo=dict(sample_idx=n)).set_gt_label(label)
        for n, label in enumerate(labels)
    ]
    return torch.randn(4, 3, 16, 16, generator=seeded()), samples


def test_the_official_form_multiplies_all_losses():
    plain = student().eval()
    expected = plain(*batch(), mode='loss')
    assert expected.keys() == {'loss_cls', 'loss_div'}
    for form, times in (('official', 2), ('paper', 1)):
        model = student(kd=dict(type='KDLoss', form=form)).eval()
        model.teacher = Teacher(student(num_experts=3))
        losses = model(*batch(), mode='loss')
        assert losses.keys() == {'loss_cls', 'loss_div', 'loss_kd'}
        for name, value in expected.items():
            assert losses[name].item() == pytest.approx(times * value.item(), rel=1e-6)


@pytest.mark.parametrize('make', [student, stock_classifier])
def test_any_classifier_teaches_with_every_loss(make):
    torch.manual_seed(1)
    channels = 2 * 48 if make is student else 512
    model = student(
        kd=dict(type='KDLoss'),
        pkt=dict(type='PKTLoss'),
        sp=dict(type='SPLoss'),
        crd=dict(type='CRDLoss', teacher_channels=channels),
        none=None,
    )
    model.distill.crd.set_num_samples(4)
    teacher = make()
    model.teacher = Teacher(teacher)
    before = copy.deepcopy(teacher.state_dict())
    losses = model(*batch(), mode='loss')
    assert set(losses) == {'loss_cls', 'loss_div'} | {
        f'loss_{name}' for name in ('kd', 'pkt', 'sp', 'crd')
    }
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


class Foreign(torch.nn.Module):
    """A classifier of another library, which has logits but no head."""

    def forward(self, inputs, mode='tensor'):
        assert mode == 'tensor'
        return inputs.mean((2, 3)) @ torch.ones(3, CLASSES)


def test_a_classifier_without_a_head_teaches_by_its_logits():
    model = student(kd=dict(type='KDLoss'))
    model.teacher = Teacher(Foreign())
    images, samples = batch()
    losses = model(images, samples, mode='loss')
    expected = KDLoss()(
        Knowledge(model.head.expert_logits(model.extract_feat(images))),
        Knowledge(Foreign()(images)[None]),
    )
    assert losses['loss_kd'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_teacher_without_logits_is_refused():
    headless = ImageClassifier(backbone=dict(type='RIDEResNetCIFAR', depth=20))
    with pytest.raises(TypeError, match=r'one tensor of logits \(N, C\), got tuple'):
        Teacher(headless)(batch()[0])


@pytest.mark.parametrize('kind', ['CutMix', 'Mixup'])
def test_the_teacher_sees_the_student_s_mixed_images(kind):
    """Mixed once: teacher and student agree about the same pictures."""
    model = student(num_experts=1, kd=dict(type='KDLoss'))
    model.data_preprocessor = MODELS.build(
        dict(
            type='ClsDataPreprocessor',
            num_classes=CLASSES,
            batch_augments=dict(augments=dict(type=kind, alpha=1.0)),
        )
    )
    seen = []
    model.teacher = Teacher(student(num_experts=1))
    for network in (model, model.teacher.classifier):
        network.backbone.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    images, samples = batch()
    data = model.data_preprocessor(
        dict(inputs=images.clone(), data_samples=samples), training=True
    )
    losses = model.eval()(**data, mode='loss')
    assert len(seen) == 2 and torch.equal(*seen)
    assert not torch.equal(seen[0], images)
    # Of the same weights: nothing is left to be taught.
    assert losses['loss_kd'].item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_is_no_part_of_the_student():
    model = student(kd=dict(type='KDLoss'))
    names, size = list(model.state_dict()), len(list(model.parameters()))
    teacher = student(num_experts=3)
    model.teacher = Teacher(teacher)
    assert list(model.state_dict()) == names == list(student().state_dict())
    assert len(list(model.parameters())) == size
    assert copy.deepcopy(model).teacher is model.teacher
    model.train()
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_in_training_mode_keeps_its_statistics():
    teacher = student()
    images, _ = batch()
    evaluated = Teacher(copy.deepcopy(teacher))(images)
    before = copy.deepcopy(teacher.state_dict())
    trained = Teacher(teacher, eval_mode=False)(images)
    assert not torch.allclose(trained.logits, evaluated.logits)
    reference = student().train()
    expected = reference.head.expert_logits(reference.extract_feat(images))
    assert torch.allclose(trained.expert_logits, expected)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_student_without_a_teacher_says_what_it_needs():
    model = student(kd=dict(type='KDLoss'))
    with pytest.raises(RuntimeError, match='expected a teacher from KDHook'):
        model(*batch(), mode='loss')
    assert model(batch()[0], mode='tensor').shape == (4, CLASSES)


def test_contrast_needs_the_index_of_each_sample():
    model = student(crd=dict(type='CRDLoss', teacher_channels=2 * 48))
    model.distill.crd.set_num_samples(4)
    model.teacher = Teacher(student())
    images, samples = batch()
    with pytest.raises(ValueError, match='expected the index of each training sample'):
        model(images, [DataSample().set_gt_label(0) for _ in samples], mode='loss')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(head='RouterHead', kd=dict(type='KDLoss')), 'got RouterHead'),
        ({'cls': dict(type='KDLoss')}, "other than cls and div, got 'cls'"),
        ({'a b': dict(type='KDLoss')}, "got 'a b'"),
    ],
)
def test_a_student_that_cannot_be_taught_is_refused(settings, message):
    with pytest.raises(ValueError, match=f'distill: expected .*{message}'):
        student(**settings)
