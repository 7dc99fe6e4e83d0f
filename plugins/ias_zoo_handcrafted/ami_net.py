"""AMI-Net: feature tokens are hidden and shaken, and a transformer is to fill them in.

Luo, Yao, Yu, Li: *AMI-Net: Adaptive Mask Inpainting Network for Industrial Anomaly Detection and Localization*, IEEE
Transactions on Automation Science and Engineering 2024; published code: github.com/luow23/AMI-Net (MIT). This is its
masking of tokens in training and in the test; its networks are left out.

Training: a share u ~ U(0, 1) of a map's N tokens, floor(u N) of them at random, is replaced by a mask token; then every
token t gets noise N(0, 1) * 20 |t| / D on each of its D components. Test: each token belongs to the nearest of eight
centres by d = |t - c| (1 - cos(t, c)); within each cluster of at least two tokens those with d >= mean + 0.5 std are
hidden. The target is the clean features.

Where this departs from the published code:

- It works on any features B x C x H x W; a token is one cell, or ``patch`` x ``patch`` cells. Published: three layers
  of a WideResNet-50 at 64 x 64, in 4 x 4 cells, projected to D = 768. The noise is 20 / sqrt(D) times as long as the
  token, so another D shakes it more or less.
- The mask token: published, a learned vector; here the mean token of the normals given to ``fit``, or zeros.
- The centres: published, the output of a branch of the network; here k-means of the map's own tokens with d.
- The standard deviation divides by n - 1, as torch's does by default.
- Where masks are given, they say which tokens are hidden.

The mask marks hidden tokens only. Noise is on all tokens, so with ``jitter`` above 0 the others differ from the clean
ones too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ias_zoo.errors import RequestError
from ias_zoo.features import (
    FeatureContext,
    FeatureMapSynthesizer,
    Features,
    FeatureSample,
    NativeMask,
    Space,
    Target,
    mix,
    normal_noise,
    to_maps,
    to_tokens,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ias_zoo_handcrafted.options.ami_net import AmiNetOptions

KMEANS_STEPS = 10
SMALLEST_CLUSTER = 2


class AmiNet(FeatureMapSynthesizer):
    """AMI-Net's token masks.

    ``aux["tokens"]`` is the mask on the grid of tokens (B x 1 x H / patch x W / patch), ``strength`` the share hidden.
    """

    options: AmiNetOptions
    space = Space.RAW_MAP
    target = Target.RESTORE
    native_mask = NativeMask.FEATURE
    learns = ("mask_token",)

    def learn(self, batches: Iterable[Features]) -> dict[str, Tensor]:
        """The mean token of normal features: the mask token, C x patch x patch long."""
        total, count = torch.zeros(0), 0
        for batch in batches:
            tokens = to_tokens(self._fitting(batch), self.options.patch).flatten(0, 1).double()
            total = tokens.sum(0) if count == 0 else total + tokens.sum(0)
            count += len(tokens)
        return {"mask_token": (total / count).float()}

    def draw(
        self,
        features: Features,
        rngs: Sequence[np.random.Generator],
        masks: Tensor | None,
        context: FeatureContext,
    ) -> FeatureSample:
        """Hide tokens, then shake all."""
        maps, side = self._fitting(features), self.options.patch
        height, width = maps.shape[2:]
        rows, columns = height // side, width // side
        tokens = to_tokens(maps, side)  # B x N x D
        if masks is not None:
            grid = functional.max_pool2d(masks.float(), side) > 0
        elif self.options.policy == "random":
            hidden = torch.stack([random_mask(rows * columns, self.options.ratio, rng) for rng in rngs])
            grid = hidden.view(-1, 1, rows, columns).to(maps.device)
        else:
            with torch.no_grad():
                outliers = [self._outliers(one, rng) for one, rng in zip(tokens, rngs, strict=True)]
            grid = torch.stack(outliers).view(-1, 1, rows, columns)
        hidden = grid.flatten(1)[..., None]  # B x N x 1
        changed = mix(tokens, self._mask_token(tokens), hidden)
        if self.options.jitter > 0:
            changed = jitter(changed, self.options.jitter, rngs)
        share = grid.flatten(1).float().mean(1)
        return FeatureSample(
            features=to_maps(changed, height, width, side),
            mask=grid.repeat_interleave(side, 2).repeat_interleave(side, 3),
            labels=grid.flatten(1).any(1).long(),
            clean=maps,
            source=torch.arange(len(maps), device=maps.device),
            strength=share,
            aux={"tokens": grid},
            recipe={"share": share.tolist(), "fitted": bool(self.state)},
        )

    def _fitting(self, features: Features) -> Tensor:
        if isinstance(features, tuple):
            raise RequestError(f"{self.method.name} takes one map, not {len(features)} levels")
        side = self.options.patch
        if features.shape[2] % side or features.shape[3] % side:
            size = f"{features.shape[2]}x{features.shape[3]}"
            raise RequestError(
                f"features of {size} cells cannot be cut in tokens of {side}x{side}; use the option patch"
            )
        return features

    def _mask_token(self, tokens: Tensor) -> Tensor:
        if not self.state:
            return torch.zeros_like(tokens)
        token = self.state["mask_token"].to(device=tokens.device, dtype=tokens.dtype)
        if token.numel() != tokens.shape[2]:
            raise RequestError(
                f"the features' tokens have {tokens.shape[2]} components, those of fit had {token.numel()}: fit again"
            )
        return token.expand_as(tokens)

    def _outliers(self, tokens: Tensor, rng: np.random.Generator) -> Tensor:
        return adaptive_mask(tokens, image_centres(tokens, self.options.centres, rng), self.options.sigma)


def random_mask(count: int, ratio: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """floor(u count) of ``count`` tokens at random, u ~ U(ratio): count bool."""
    hidden = int(rng.uniform(*ratio) * count)
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.from_numpy(rng.permutation(count)[:hidden])] = True
    return mask


def jitter(tokens: Tensor, scale: float, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Add N(0, 1) * scale * |t| / D to every component of every token t (B x N x D)."""
    lengths = tokens.norm(dim=2, keepdim=True)
    noise: Tensor = normal_noise(tokens, rngs) * (lengths * (scale / tokens.shape[2]))
    return tokens + noise


def distances(tokens: Tensor, centres: Tensor) -> Tensor:
    """Distance |t - c| (1 - cos(t, c)): N x D and K x D to N x K."""
    cosine = functional.normalize(tokens, dim=1) @ functional.normalize(centres, dim=1).T
    straight = torch.cdist(tokens[None], centres[None], compute_mode="donot_use_mm_for_euclid_dist")[0]
    result: Tensor = straight * (1 - cosine)
    return result


def adaptive_mask(tokens: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """The outliers of each cluster: d >= mean + sigma std among the tokens of the same nearest centre.

    Parameters
    ----------
    tokens, centres:
        N x D and K x D.
    sigma:
        Standard deviations (dividing by n - 1). Clusters of one token have no outlier.

    Returns
    -------
    N bool.
    """
    nearest, cluster = distances(tokens, centres).min(dim=1)
    nearest = nearest.double()
    count = torch.bincount(cluster, minlength=len(centres)).double()
    zeros = torch.zeros(len(centres), dtype=torch.float64, device=tokens.device)
    mean = zeros.index_add(0, cluster, nearest) / count.clamp(min=1)
    spread = zeros.index_add(0, cluster, (nearest - mean[cluster]) ** 2) / (count - 1).clamp(min=1)
    limit = mean + sigma * spread.sqrt()
    return (nearest >= limit[cluster]) & (count[cluster] >= SMALLEST_CLUSTER)


def image_centres(tokens: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Centres of a map's own tokens: k-means with d, begun at random tokens; K x D, K at most N."""
    start = torch.from_numpy(rng.permutation(len(tokens))[:count]).to(tokens.device)
    centres = tokens[start]
    for _ in range(KMEANS_STEPS):
        cluster = distances(tokens, centres).argmin(dim=1)
        sizes = torch.bincount(cluster, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add(0, cluster, tokens)
        moved = sums / sizes.clamp(min=1)[:, None].to(sums.dtype)
        centres = torch.where((sizes > 0)[:, None], moved, centres)  # an empty cluster stays where it is
    return centres
