"""DFMGAN's laws, on networks of 32 pixels that fit in seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ias_zoo
from ias_zoo.errors import NotFitted, OptionError, RequestError, WeightsError
from ias_zoo.gan.stylegan2 import Discriminator, Generator, Sizes, parameter_count, seeded
from ias_zoo.hub import read_weights
from ias_zoo.testing.subject import toy_set
from ias_zoo.training.devices import generator
from ias_zoo.training.shots import load_shots
from ias_zoo.training.trainer import Schedule, train
from ias_zoo_dfmgan.networks import Branch, DefectGenerator, LoRABranch, branch_noise
from ias_zoo_dfmgan.options import DFMGANOptions
from ias_zoo_dfmgan.stages import BaseStage, FewShotStage, Plan, signed_mask, soft_mask

CPU = torch.device("cpu")
SIZES = Sizes(resolution=32, base=256, largest=16, latent=16, mapping_layers=2)
OPTIONS = DFMGANOptions(resolution=32, channels=256, largest=16, latent=16, batch=4)
SMALL = {"resolution": 32, "channels": 256, "largest": 16, "latent": 16, "batch": 4}
PLAN = Plan(batch=4, kimg=0.02, gamma=0.1, ada_kimg=0.01, ema_kimg=0.004, ema_ramp=None)


def backbone() -> Generator:
    made: Generator = seeded(lambda: Generator(SIZES), 1)
    return made.requires_grad_(False)


def network(threshold: float = 0.0, *, lora: bool = False) -> DefectGenerator:
    base = backbone()
    branch = seeded(lambda: LoRABranch(SIZES, 8, base, 2) if lora else Branch(SIZES, 8), 2)
    return DefectGenerator(base, branch, threshold)


def styles(made: DefectGenerator, batch: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(2, batch, 16, generator=generator(seed))
    return made.backbone.mapping(z[0]), made.branch.mapping(z[1])


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_set(tmp_path_factory.mktemp("toys")).root


@pytest.fixture(scope="module")
def base(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base trained for ten steps."""
    out = tmp_path_factory.mktemp("bases") / "base"
    ias_zoo.load("dfmgan", device="cpu", base_kimg=0.04, **SMALL).fit(toys, stage="base", out=out)
    return out


@pytest.fixture(scope="module")
def weights(toys: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weights") / "weights"
    ias_zoo.load("dfmgan", base=base, device="cpu", kimg=0.02, batch=4).fit(toys, count=2, out=out)
    return out


# The generator


def test_parameter_counts_at_the_published_sizes() -> None:
    with torch.device("meta"):
        full, branch = Generator(Sizes()), Branch(Sizes(), 64)
    assert parameter_count(branch) == 3_669_703
    assert parameter_count(full) + parameter_count(branch) == 26_861_225
    assert branch.mapping.copies == 7
    assert list(branch.blocks) == ["64", "128", "256"]


def test_the_seventh_defect_style_is_idle() -> None:
    made = network()
    ws, defect = styles(made)
    image, mask = made(ws, defect)
    changed = defect.clone()
    changed[:, -1] += 1
    again, mask_again = made(ws, changed)
    assert torch.equal(again, image)
    assert torch.equal(mask_again, mask)
    changed[:, -2] += 1
    assert not torch.equal(made(ws, changed)[0], image)


@pytest.mark.parametrize("lora", [False, True])
def test_residual_off_is_the_base_to_the_bit(lora: bool) -> None:
    made = network(lora=lora)
    ws, defect = styles(made)
    expected = made.backbone.synthesis(ws)
    assert torch.equal(made.normals(ws), expected)
    made.threshold = float("inf")
    assert torch.equal(made(ws, defect)[0], expected)
    made.threshold = float("-inf")
    if lora:  # gates that start at 0: the base's own picture, whatever the mask
        assert torch.equal(made(ws, defect)[0], expected)
    else:
        assert not torch.isclose(made(ws, defect)[0], expected).any(dim=1).all(dim=-1).any()


def test_features_differ_where_the_mask_is_alone() -> None:
    made = network()
    ws, defect = styles(made)
    seen: list[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]] = []
    from ias_zoo_dfmgan.networks import _Manipulation

    change = _Manipulation(made.branch, defect, None, 0.0)

    def watch(resolution: int, before: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        after = change(resolution, before, features)
        if resolution >= 8:
            seen.append((resolution, features, after, change.logits))
        else:
            assert after is features
        return after

    made.backbone.synthesis(ws, None, watch)
    assert [resolution for resolution, *_ in seen] == [8, 16, 32]
    for _, before, after, logits in seen:
        outside = (logits < 0).expand_as(before)
        assert 0.05 < outside.float().mean() < 0.95
        assert torch.equal(after[outside], before[outside])
        assert (after[~outside] != before[~outside]).float().mean() > 0.95
    # Masks at higher resolutions are the logits, upsampled; not the binary mask.
    from ias_zoo.gan.layers import upsample

    assert torch.equal(seen[1][3], upsample(seen[0][3]))
    assert not torch.equal(seen[1][3] >= 0, upsample((seen[0][3] >= 0).float()) >= 0.5)


def test_the_block_reads_features_that_were_manipulated_below() -> None:
    """Only the lowest block changed: those above see it, so their residuals change too."""
    made = network()
    ws, defect = styles(made)
    changed = defect.clone()
    changed[:, 0] += 1  # conv0 of the lowest block alone
    residuals: list[list[torch.Tensor]] = [[], []]
    for kept, given in zip(residuals, (defect, changed), strict=True):
        original = Branch.residual

        def spy(self: Branch, *arguments: Any, kept: list[torch.Tensor] = kept, original: Any = original) -> Any:
            kept.append(original(self, *arguments))
            return kept[-1]

        Branch.residual = spy  # type: ignore[method-assign]
        try:
            made(ws, given)
        finally:
            Branch.residual = original  # type: ignore[method-assign]
    assert all(not torch.equal(one, other) for one, other in zip(*residuals, strict=True))


def test_gradients_of_the_mask_branch() -> None:
    """None from the picture, some from the mask; the residual convolutions learn from the picture."""
    made = network()
    ws, defect = styles(made)
    image, logits = made(ws, defect)
    to_mask = list(made.branch.to_mask.parameters())
    convs = [p for n, p in made.branch.blocks.named_parameters() if n.endswith("kernel.weight")]
    from_image = torch.autograd.grad(image.square().sum(), to_mask, retain_graph=True, allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in from_image)
    from_mask = torch.autograd.grad(soft_mask(logits, 10).sum(), to_mask, retain_graph=True)
    assert all(bool(gradient.any()) for gradient in from_mask)
    assert all(bool(g.any()) for g in torch.autograd.grad(image.square().sum(), convs))


def test_masks() -> None:
    made = network()
    ws, defect = styles(made)
    _, logits = made(ws, defect)
    assert logits.shape == (4, 1, 32, 32)
    with torch.no_grad():
        made.branch.to_mask.bias += 5
    assert made(ws, defect)[1].max() > 1  # unbounded
    soft = soft_mask(logits, 10.0)
    assert torch.allclose(soft, torch.tanh(10 * logits))
    assert soft.abs().max() <= 1
    assert torch.equal(made.masks(ws, defect), made(ws, defect)[1])
    grey = torch.tensor([0.0, 0.49, 0.5, 1.0])
    assert signed_mask(grey).tolist() == [-1, -1, 1, 1]


def test_latents_apart() -> None:
    """Another defect latent leaves the picture without defect as it is; another product latent changes everything."""
    made = network()
    ws, defect = styles(made)
    other_ws, other_defect = styles(made, seed=1)
    assert torch.equal(made.normals(ws), made.normals(ws))
    assert not torch.equal(made(ws, defect)[1], made(ws, other_defect)[1])
    assert not torch.equal(made.normals(ws), made.normals(other_ws))
    assert not torch.equal(made(ws, defect)[1], made(other_ws, defect)[1])


def test_noise() -> None:
    made = network()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(0.2)
    ws, defect = styles(made)
    assert torch.equal(made(ws, defect)[0], made(ws, defect)[0])
    one, other = (branch_noise(made.branch, 4, generator(seed), CPU) for seed in (0, 1))
    assert len(one) == 6
    assert not torch.equal(made(ws, defect, None, one)[0], made(ws, defect, None, other)[0])


@pytest.mark.parametrize("lora", [False, True])
def test_it_compiles_whole(lora: bool) -> None:
    made = network(lora=lora).requires_grad_(False)
    ws, defect = styles(made)
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    for one, other in zip(compiled(ws, defect), made(ws, defect), strict=True):
        assert torch.equal(one, other)


def test_lora_sees_the_adapted_weight_everywhere() -> None:
    """With adapters that add a known kernel, the block is that of plain layers whose kernels have it added."""
    made = network(lora=True)
    branch = made.branch
    plain = seeded(lambda: Branch(SIZES, 8), 2)
    plain.blocks.load_state_dict(made.backbone.synthesis.convs.state_dict(), strict=False)
    for name in branch.blocks:
        plain.blocks[name].load_state_dict(made.backbone.synthesis.convs[name].state_dict())
        for part in ("conv0", "conv1"):
            adapted, target = getattr(branch.blocks[name], part).conv, getattr(plain.blocks[name], part).conv
            with torch.no_grad():
                for layer in (adapted.kernel, adapted.affine):
                    layer.lora_B["default"].weight.normal_(generator=generator(5)).mul_(0.1)
                target.kernel.weight += adapted.kernel.get_delta_weight("default") / target.gain
                target.affine.weight += adapted.affine.get_delta_weight("default") / target.affine.gain
    x = torch.randn(2, SIZES.channels(4), 4, 4, generator=generator(1))
    ws = torch.randn(2, 7, 16, generator=generator(2))
    expected = plain.residual(8, x, ws, None)
    assert torch.allclose(branch.residual(8, x, ws, None), expected, atol=1e-4)
    assert not torch.allclose(made.backbone.synthesis.convs["8"](x, ws[:, :2], [None, None]), expected, atol=1e-2)
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in branch.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(False)
    off = branch.residual(8, x, ws, None)
    assert torch.equal(off, made.backbone.synthesis.convs["8"](x, ws[:, :2], [None, None]))


# Training


def stage(toys: Path, plan: Plan | None = None, **changes: Any) -> FewShotStage:
    data = load_shots(ias_zoo.open_data(toys), shots=2)
    options = dataclasses.replace(OPTIONS, **changes)
    made = network(lora=options.adapter == "lora")
    judge, matching = (seeded(lambda c=c: Discriminator(SIZES, c), c) for c in (3, 4))
    return FewShotStage(
        "few-shot", data, options, plan or PLAN, None, 0, made.backbone, made.branch, judge, matching, CPU
    )


def state(modules: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in modules.state_dict().items()}


@pytest.mark.parametrize("adapter", ["residual", "lora"])
def test_what_two_steps_change(toys: Path, adapter: str) -> None:
    task = stage(toys, adapter=adapter)
    modules = {
        "backbone": task.network.backbone,
        "branch": task.branch,
        "discriminator": task.adversary.network,
        "matching": task.matching.network,
    }
    before = {name: state(module) for name, module in modules.items()}
    trains = {id(p) for o in task.optimizers().values() for group in o.param_groups for p in group["params"]}
    train(task, Schedule(steps=2), CPU)
    after = {name: state(module) for name, module in modules.items()}
    assert all(torch.equal(before["backbone"][name], tensor) for name, tensor in after["backbone"].items())
    for part in ("discriminator", "matching"):
        assert any(not torch.equal(before[part][name], tensor) for name, tensor in after[part].items())
    changed = {name for name, tensor in after["branch"].items() if not torch.equal(before["branch"][name], tensor)}
    assert any(name.startswith("mapping") for name in changed)
    assert any(name.startswith("to_mask") for name in changed)
    assert any(name.startswith("gates" if adapter == "lora" else "blocks") for name in changed)
    expected = {id(p) for p in task.branch.parameters() if p.requires_grad}
    expected |= {id(p) for m in (task.adversary.network, task.matching.network) for p in m.parameters()}
    assert trains == expected
    if adapter == "residual":
        assert {id(p) for p in task.branch.parameters()} <= trains


def test_the_turns_of_a_step(toys: Path) -> None:
    task = stage(toys)
    names = {step: [phase.loss.__name__ for phase in task.phases(step)] for step in (0, 1, 4, 16)}
    everything = ["generator_loss", "path_loss", "discriminator_loss", "discriminator_penalty"]
    everything += ["matching_loss", "matching_penalty"]
    assert names[0] == names[16] == everything
    assert names[1] == ["generator_loss", "discriminator_loss", "matching_loss"]
    assert names[4] == ["generator_loss", "path_loss", "discriminator_loss", "matching_loss"]
    rates = {name: (o.param_groups[0]["lr"], o.param_groups[0]["betas"]) for name, o in task.optimizers().items()}
    assert rates["branch"] == (pytest.approx(0.0025 * 4 / 5), pytest.approx((0.0, 0.99**0.8)))
    for name in ("discriminator", "matching"):
        assert rates[name] == (pytest.approx(0.0025 * 16 / 17), pytest.approx((0.0, 0.99 ** (16 / 17))))


def test_losses_of_the_generator_by_hand(toys: Path) -> None:
    task = stage(toys)
    terms = task.generator_loss(3, 0)
    draws = task.draws("G", 3, 0)
    ws, defect = task.styles(4, draws)
    noise, extra = task.noises(4, draws)
    image, logits = task.network(ws, defect, noise, extra)
    mask = torch.tanh(10 * logits)
    soft = torch.nn.functional.softplus
    assert torch.allclose(terms["G"], soft(-task.adversary.network(image)).mean())
    assert torch.allclose(terms["G match"], soft(-task.matching.network(torch.cat([image, mask], 1))).mean())
    # The first half's product styles, with the second half's defect styles.
    other = torch.tanh(10 * task.network(ws[:2], defect[2:], [n[:2] for n in noise], [n[:2] for n in extra])[1])
    expected = 0.1 * (defect[:2] - defect[2:]).abs().mean() / ((mask[:2] - other).abs().mean() + 1e-5)
    assert torch.allclose(terms["G mode seeking"], expected, rtol=1e-5)


def test_matching_loss_by_hand(toys: Path) -> None:
    task = stage(toys)
    terms = task.matching_loss(3, 0)
    image, logits, _ = task.pictures("match", 3, 0)
    real, mask = task.shots("match", 3, 0)
    assert set(mask.unique().tolist()) == {-1.0, 1.0}
    soft, judge = torch.nn.functional.softplus, task.matching.network
    assert torch.allclose(terms["match fake"], soft(judge(torch.cat([image, torch.tanh(10 * logits)], 1))).mean())
    assert torch.allclose(terms["match real"], soft(-judge(torch.cat([real, mask], 1))).mean())


@pytest.mark.parametrize(
    ("kimg", "given", "pipe", "most"),
    [
        (400.0, {}, "bgc", float("inf")),
        (2.0, {}, "bg", 0.6),
        (2.0, {"augment": "c", "augment_most": 2.0}, "c", 2.0),
        (2.0, {"augment": "none"}, "", 0.6),
    ],
)
def test_short_runs_augment_less(kimg: float, given: dict[str, Any], pipe: str, most: float, toys: Path) -> None:
    task = stage(toys, dataclasses.replace(PLAN, kimg=kimg), **given)
    assert (task.augment.pipe, task.most) == (pipe, most)


def test_augmentation_is_for_d_alone(toys: Path) -> None:
    """D's pictures pass it, and its strength follows D alone; the matching discriminator's never do."""
    task = stage(toys)
    seen: list[int] = []
    forward = task.augment.forward
    task.augment.forward = lambda images, draws: (seen.append(images.shape[1]), forward(images, draws))[1]  # type: ignore[assignment]
    task.matching_loss(0, 0)
    task.matching_penalty(0, 0)
    assert not seen
    assert task.augment.signs[0] == 0
    task.discriminator_loss(0, 0)
    task.discriminator_penalty(0, 0)
    task.generator_loss(0, 0)
    assert seen == [3, 3, 3, 3]
    assert task.augment.signs[0] == 4  # the real logits of D's main turn


def test_only_the_products_styles_carry_the_path_length(toys: Path) -> None:
    task = stage(toys)
    torch.stack(list(task.path_loss(0, 0).values())).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in task.branch.blocks.parameters())
    assert all(p.grad is None for p in task.network.backbone.parameters())


@pytest.mark.parametrize("seeking", ["w/mask", "w/image", "z/mask", "none"])
def test_every_kind_of_mode_seeking(toys: Path, seeking: str) -> None:
    terms = stage(toys, mode_seeking=seeking).generator_loss(0, 0)
    assert ("G mode seeking" in terms) == (seeking != "none")
    assert all(torch.isfinite(term) for term in terms.values())


def test_a_long_run_at_the_smallest_size_stays_finite(toys: Path) -> None:
    task = stage(toys)
    report = train(task, Schedule(steps=150), CPU)
    assert all(np.isfinite(values).all() for values in report.losses.values())
    assert len(report.losses["D R1"]) == 10
    assert report.at["D R1"] == list(range(0, 150, 16))
    assert len(report.values["augmentation strength"]) == 150
    assert all(torch.isfinite(t).all() for t in task.average.state_dict().values() if t.is_floating_point())


@pytest.mark.parametrize("stopped_at", [3, 6])
def test_a_resumed_training_ends_in_the_same_bits(toys: Path, tmp_path: Path, stopped_at: int) -> None:
    schedule = Schedule(steps=9, checkpoint_every=2)
    whole = stage(toys)
    report = train(whole, schedule, CPU, folder=tmp_path / "whole")

    def stop(number: int, loss: float) -> None:
        if number == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stage(toys), schedule, CPU, folder=tmp_path / "part", step=stop)
    resumed = stage(toys)
    again = train(resumed, schedule, CPU, folder=tmp_path / "part", resume=True)
    assert again.losses == report.losses
    assert again.values == report.values
    for name, module in whole.modules.items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, resumed.modules[name].state_dict()[key]), f"{name}.{key}"


def test_the_base_stage_learns(toys: Path, tmp_path: Path) -> None:
    """Its average pictures come nearer to the normals' mean colour than the start was."""
    data = load_shots(ias_zoo.open_data(toys), shots=2)
    judge = seeded(lambda: Discriminator(SIZES), 2)
    plan = dataclasses.replace(PLAN, ema_kimg=0.02)
    made = seeded(lambda: Generator(SIZES), 1)
    task = BaseStage("base", data, OPTIONS, plan, None, 0, made, judge, CPU)
    real = torch.cat([task.normals(step, 0) for step in range(4)]).mean(dim=(0, 2, 3))
    z = torch.randn(32, 16, generator=generator(9))
    with torch.no_grad():
        before = (task.average(z).mean(dim=(0, 2, 3)) - real).abs().sum()
    train(task, Schedule(steps=120, preview_every=60), CPU, folder=tmp_path)
    with torch.no_grad():
        after = (task.average(z).mean(dim=(0, 2, 3)) - real).abs().sum()
    assert after < 0.5 * before
    assert made.mapping.average.abs().sum() > 0
    assert sorted(path.name for path in (tmp_path / "base").glob("*.png")) == [
        "preview-0000060.png", "preview-0000120.png",
    ]  # fmt: skip


# The method


def test_spans_at_the_published_lengths_are_the_published_ones(base: Path) -> None:
    made = ias_zoo.load("dfmgan", device="cpu")
    assert made._batch() == 16
    plan = made._plan(16, 3000, ada=1 / 6, ramp=0.05)
    assert (plan.gamma, plan.ada_kimg, plan.ema_kimg) == (pytest.approx(0.8192), 500, 5)
    plan = made._plan(32, 400, ada=1 / 4, ramp=None)
    assert (plan.gamma, plan.ada_kimg, plan.ema_kimg) == (pytest.approx(0.4096), 100, 10)
    assert made._plan(8, 9.9, ada=1 / 4, ramp=None).gamma == 1, "ours, in short runs"
    assert made._match_sizes() == Sizes(base=4096, largest=128)


def test_few_shot_weights(weights: Path, toys: Path) -> None:
    manifest = read_weights(weights)
    assert (manifest.stage, manifest.base, manifest.defects) == ("few-shot", "base", ("scratch",))
    assert manifest.options["resolution"] == 32
    made = ias_zoo.load("dfmgan", weights, device="cpu")
    sample, other = made.generate(2, seed=1)
    assert sample.image.shape == (32, 32, 3)
    assert sample.mask.shape == (32, 32)
    assert not np.array_equal(sample.image, other.image)
    request = ias_zoo.Request(seed=5, defect="scratch")
    normal = made.defect_free(request)
    assert normal.shape == (32, 32, 3)
    assert not np.array_equal(normal, made.synthesize([request])[0].image)
    with pytest.raises(RequestError, match="'dent'; these weights know scratch"):
        made.synthesize([ias_zoo.Request(seed=1, defect="dent")])
    with pytest.raises(OptionError, match="hold their base, 'base'"):
        ias_zoo.load("dfmgan", weights, base="another", device="cpu")
    for name in ("training.png", "training.json", "samples.png"):
        assert (weights / name).stat().st_size > 1000
    assert list((weights / "previews").glob("stage-1-*.png"))


def test_a_branch_a_type_one_after_the_other(base: Path, mvtec: Path, tmp_path: Path) -> None:
    """What the first type learns does not depend on there being a second."""
    both = ias_zoo.load("dfmgan", base=base, device="cpu", kimg=0.02, batch=4)
    report = both.fit(mvtec, count=2, out=tmp_path / "both")
    assert [stage.name for stage in report.stages] == ["few-shot crack", "few-shot dent"]
    one = ias_zoo.load("dfmgan", base=base, device="cpu", kimg=0.02, batch=4)
    one.fit(mvtec, count=2, defects=["crack"])
    request = ias_zoo.Request(seed=3, defect="crack")
    assert np.array_equal(both.synthesize([request])[0].image, one.synthesize([request])[0].image)
    again = ias_zoo.load("dfmgan", tmp_path / "both", device="cpu")
    for defect in ("crack", "dent"):
        request = ias_zoo.Request(seed=3, defect=defect)
        assert np.array_equal(again.synthesize([request])[0].image, both.synthesize([request])[0].image)


def test_lora_weights_are_pefts_and_come_back(base: Path, toys: Path, tmp_path: Path) -> None:
    made = ias_zoo.load("dfmgan", base=base, device="cpu", kimg=0.02, batch=4, adapter="lora", rank=2)
    made.fit(toys, count=2, out=tmp_path / "weights")
    files = {
        path.relative_to(tmp_path / "weights").as_posix() for path in (tmp_path / "weights").rglob("*.safetensors")
    }
    assert files == {"generator.safetensors", "branch_0.safetensors", "branch_0_lora/adapter_model.safetensors"}
    again = ias_zoo.load("dfmgan", tmp_path / "weights", device="cpu")
    request = ias_zoo.Request(seed=3, defect="scratch")
    one, other = made.synthesize([request])[0], again.synthesize([request])[0]
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.mask, other.mask)


def test_bases(base: Path, weights: Path, toys: Path, tmp_path: Path) -> None:
    manifest = read_weights(base)
    assert (manifest.stage, manifest.base, manifest.defects) == ("base", None, ())
    assert len(manifest.training_files) == 3  # the normals
    with pytest.raises(NotFitted, match="is a base: fit it on shots"):
        ias_zoo.load("dfmgan", base, device="cpu")
    with pytest.raises(WeightsError, match="fitted on shots, they are no base"):
        ias_zoo.load("dfmgan", base=weights, device="cpu").fit(toys, count=2)
    with pytest.raises(OptionError, match="no base: give .*--stage base"):
        ias_zoo.load("dfmgan", device="cpu").fit(toys, count=2)
    with pytest.raises(OptionError, match="resolution=64: base base has 32"):
        ias_zoo.load("dfmgan", base=base, device="cpu", resolution=64).fit(toys, count=2)
    with pytest.raises(OptionError, match="leave defects, the number of shots and groups out"):
        ias_zoo.load("dfmgan", device="cpu").fit(toys, stage="base", count=2)
    with pytest.raises(OptionError, match="seas trains no base of its own"):
        ias_zoo.load("seas", device="cpu").fit(toys, stage="base")
    with pytest.raises(OptionError, match="batch=5: expected an even number"):
        ias_zoo.load("dfmgan", base=base, device="cpu", batch=5).fit(toys, count=2)
    # A base goes on from a base.
    more = ias_zoo.load("dfmgan", base=base, device="cpu", base_kimg=0.008, batch=4)
    more.fit(toys, stage="base", out=tmp_path / "more", crop="40")
    assert read_weights(tmp_path / "more").base == "base"
    # And shots are then cropped as the base's normals were.
    fitted = ias_zoo.load("dfmgan", base=tmp_path / "more", device="cpu", kimg=0.008, batch=4)
    assert fitted.fit(toys, count=2).crop == 40
    with pytest.raises(NotFitted, match="only a base was trained so far"):
        more.synthesize([ias_zoo.Request(seed=0)])


def test_the_embedded_base_is_there_and_small() -> None:
    import importlib.resources

    from ias_zoo.registry import registry

    method = registry().find("dfmgan").method
    assert method.tiny is not None
    package, _, name = method.tiny.partition(":")
    folder = Path(str(importlib.resources.files(package).joinpath(name)))
    assert read_weights(folder).stage == "base"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4_100_000
