"""AMI-Net's token masks, and the contract of methods that perturb feature maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import ias_zoo
from ias_zoo import FeatureSynthesizer
from ias_zoo.errors import IasZooError, NotDecodable, NotFitted, RequestError
from ias_zoo.features import FeatureMapSynthesizer, FeatureSample, pool_masks, to_maps, to_tokens
from ias_zoo_handcrafted import ami_net


def maps(count=4, channels=32, height=16, width=16, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).normal(size=(count, channels, height, width)).astype(np.float32)
    )


def test_share_of_hidden_tokens_is_uniform():
    synthesizer = ias_zoo.load("ami_net", jitter=0)
    shares = []
    for start in range(0, 600, 100):
        sample = synthesizer.perturb(maps(100, 4), seeds=range(start, start + 100))
        shares += sample.strength.tolist()
        assert torch.equal(sample.mask.flatten(1).float().mean(1), sample.strength)
        assert torch.equal(sample.labels, sample.mask.flatten(1).any(1).long())
    assert stats.kstest(shares, "uniform").pvalue > 0.01
    assert all(float(share * 256).is_integer() for share in shares)
    fixed = ias_zoo.load("ami_net", ratio=(0.25, 0.25)).perturb(maps(), seeds=range(4))
    assert fixed.strength.tolist() == [0.25] * 4


def test_hidden_tokens_are_the_mask_token_and_others_are_clean_without_noise():
    features = maps()
    synthesizer = ias_zoo.load("ami_net", jitter=0)
    for token in (torch.zeros(32), features.mean(dim=(0, 2, 3))):
        sample = synthesizer.perturb(features, seeds=range(4))
        tokens, hidden = sample.features.movedim(1, -1), sample.mask[:, 0]
        assert torch.allclose(tokens[hidden], token.expand_as(tokens[hidden]), atol=1e-6)
        assert torch.equal(tokens[~hidden], features.movedim(1, -1)[~hidden])
        assert sample.clean is features
        synthesizer.fit([features[:1], features[1:]])  # batches of different size count by their tokens
    assert list(synthesizer.state_dict()) == ["mask_token"]


def test_noise_is_twenty_lengths_over_the_width():
    tokens = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 8, 768)).astype(np.float32))
    tokens *= torch.arange(8)[None, :, None]  # lengths from 0 upwards
    noise = torch.cat([ami_net.jitter(tokens, 20.0, [np.random.default_rng(seed)]) - tokens for seed in range(200)])
    expected = 20 * tokens[0].norm(dim=1) / 768
    measured = noise.std(dim=(0, 2))
    assert (noise[:, 0] == 0).all(), "a zero token gets no noise"
    assert torch.allclose(measured[1:], expected[1:], rtol=0.05)
    ratio = noise[:, 3].norm(dim=1).mean() / tokens[0, 3].norm()
    assert float(ratio) == pytest.approx(20 / 768**0.5, rel=0.05)


def brute_force(tokens, centres, sigma):
    """The published rule, one token and one cluster after the other."""
    far, cluster = [], []
    for token in tokens.double().numpy():
        cosine = [token @ c / np.linalg.norm(token) / np.linalg.norm(c) for c in centres.double().numpy()]
        d = [np.linalg.norm(token - c) * (1 - cos) for c, cos in zip(centres.double().numpy(), cosine, strict=True)]
        cluster.append(int(np.argmin(d)))
        far.append(min(d))
    mask = np.zeros(len(far), bool)
    for k in set(cluster):
        members = [i for i in range(len(far)) if cluster[i] == k]
        if len(members) >= 2:
            values = np.array(far)[members]
            mask[members] = values >= values.mean() + sigma * values.std(ddof=1)
    return mask


def test_adaptive_mask_is_the_published_rule():
    for seed in range(5):
        tokens, centres = maps(1, 16, seed=seed)[0].flatten(1).T, maps(1, 16, 2, 4, seed=seed + 50)[0].flatten(1).T
        assert np.array_equal(ami_net.adaptive_mask(tokens, centres, 0.5).numpy(), brute_force(tokens, centres, 0.5))
    assert not ami_net.adaptive_mask(tokens, centres, 1e6).any()
    alone = torch.cat([tokens[:20] + 100, -100 * torch.ones(1, 16)])  # the last one is a cluster of its own
    ends = torch.stack([alone[:20].mean(0), alone[20] + 1])
    assert not ami_net.adaptive_mask(alone, ends, 0.0)[20]
    assert ami_net.adaptive_mask(alone, ends, 0.0)[:20].any()


def test_adaptive_policy_hides_the_odd_tokens():
    features = torch.ones(1, 16, 12, 12) + 0.05 * maps(1, 16, 12, 12)
    features[0, :8, 3:5, 3:5] = -3
    sample = ias_zoo.load("ami_net", policy="adaptive", centres=2, jitter=0).perturb(features, seeds=[0])
    assert 0 < sample.strength.item() < 0.6
    again = ias_zoo.load("ami_net", policy="adaptive", centres=2, sigma=1e6).perturb(features, seeds=[0])
    assert not again.mask.any()
    assert again.labels.tolist() == [0]


def test_tokens_of_several_cells():
    features = maps(2, 3, 8, 12)
    tokens = to_tokens(features, 4)
    assert tokens.shape == (2, 6, 48)
    assert torch.equal(tokens[1, 4], features[1, :, 4:8, 4:8].flatten())
    assert torch.equal(to_maps(tokens, 8, 12, 4), features)
    sample = ias_zoo.load("ami_net", patch=4, jitter=0, ratio=(0.5, 0.5)).perturb(features, seeds=[1, 2])
    assert sample.aux["tokens"].shape == (2, 1, 2, 3)
    assert sample.aux["tokens"].flatten(1).sum(1).tolist() == [3, 3]
    assert torch.equal(sample.mask[:, :, ::4, ::4], sample.aux["tokens"])
    assert torch.equal((sample.features == 0).all(1), sample.mask[:, 0])
    with pytest.raises(RequestError, match="option patch"):
        ias_zoo.load("ami_net", patch=5).perturb(features, seeds=[1, 2])


def test_a_state_of_another_width_is_refused():
    synthesizer = ias_zoo.load("ami_net").fit(maps(channels=8))
    with pytest.raises(RequestError, match="fit again"):
        synthesizer.perturb(maps(channels=9), seeds=range(4))
    with pytest.raises(RequestError, match="no normal features"):
        synthesizer.fit([])


def test_masks_are_pooled_by_maximum():
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 17, 40] = True
    pooled = pool_masks(mask, 1, 8, 8)
    assert pooled.nonzero().tolist() == [[0, 0, 2, 5]]
    assert pool_masks(pooled, 1, 16, 16).sum() == 4
    odd = pool_masks(mask.float(), 1, 7, 9)  # 64 is no multiple of these: no pixel is lost
    assert odd.sum() >= 1


class Doubling(FeatureMapSynthesizer):
    """What later methods need of the contract: two levels, a state that must be learnt, a context, twice the batch."""

    space, target, native_mask = "vq_pair", "classify", "image"
    learns, needs_fit = ("centre",), True

    def learn(self, batches):
        return {"centre": torch.stack([low.mean(dim=(0, 2, 3)) for low, _ in batches]).mean(0)}

    def draw(self, features, rngs, masks, context):
        low, high = features
        push = context.discriminator(low.flatten()[:, None]).view_as(low)
        both = (torch.cat([low, low + push]), torch.cat([high, high]))
        where = torch.zeros(2 * len(low), 1, *high.shape[2:], dtype=torch.bool)
        where[len(low) :] = True if masks is None else masks
        labels = where.flatten(1).any(1).long()
        source = torch.arange(len(low)).repeat(2)
        return FeatureSample(features=both, mask=where, labels=labels, source=source, kinds=("clean", "pushed"))

    def decode(self, sample):
        return sample.features[1].repeat(1, 3, 1, 1)[:, :3]


def test_the_contract_holds_levels_context_state_and_decoding():
    synthesizer = Doubling(ias_zoo.load("ami_net").setup)
    assert isinstance(synthesizer, FeatureSynthesizer)
    pair = (maps(3, 6, 4, 4), maps(3, 6, 8, 8))
    context = ias_zoo.FeatureContext(discriminator=lambda rows: torch.ones_like(rows))
    with pytest.raises(NotFitted, match="fit"):
        synthesizer.perturb(pair, seeds=range(3), context=context)
    synthesizer.fit([pair, pair])
    sample = synthesizer.perturb(pair, seeds=range(3), masks=torch.ones(3, 32, 32), context=context)
    assert sample.features[0].shape == (6, 6, 4, 4)
    assert sample.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(sample.features[0][3:], pair[0] + 1)
    assert sample.recipe["seeds"] == [0, 1, 2]
    assert synthesizer.decode(sample).shape == (6, 3, 8, 8)
    with pytest.raises(RequestError, match="one batch"):
        synthesizer.perturb((pair[0][:2], pair[1]), seeds=range(3), context=context)
    with pytest.raises(NotDecodable, match="ami_net"):
        ias_zoo.load("ami_net").decode(sample)
    assert issubclass(NotDecodable, IasZooError)
