"""A critic that separates rows from decoded ones, and whose features say how alike two rows are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.distributions.independent import location_of
from isthmus.errors import InputError
from isthmus.forward_pass import Pass
from isthmus.latent_model import Model
from isthmus.objective import Term, frozen
from isthmus.terms.divergences import draws_from_prior


class RowCritic(nn.Module):
    """Features (N, H) of rows, and a logit (N, 1) that says whether they are real.

    Args:
        net: a network of rows to H numbers.
        width: H.
    """

    def __init__(self, net: nn.Module, width: int):
        super().__init__()
        self.net, self.logit = net, nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = F.silu(self.net(x)).to(x.dtype)
        return features, self.logit(features).squeeze(-1)


def gan(critic: RowCritic, a: float) -> Term:
    """Half the squared distance of rows and reconstructions in a critic's features, and a times its verdict.

    Blurred rows are far from sharp ones in what a critic reads, though near in squared error (Larsen et al., 2016). The
    verdict, -log of the probability that decoded rows are real, is on reconstructions and on rows decoded from draws of
    the prior; it reaches the decoder alone, for codes are held fixed.

    Args:
        critic: the second player.
        a: weight of the verdict beside the distance.
    """

    def known(model: Model, batch: Batch, x: Tensor) -> Tensor:
        counted = model.counted(batch)
        return x if counted is None else torch.where(counted, x, 0.0)

    def from_prior(model: Model, batch: Batch, out: Pass) -> list[Tensor]:
        """Rows (B, *X) decoded from the prior, where training ties codes to it."""
        if out.weighted:
            raise InputError("draws must have equal weights for penalty='gan(w, a)', got weights of their own.")
        codes = [draws_from_prior(out, "gan(w, a)")] if out.q.has_density else []
        return [known(model, batch, location_of(model.decode(z, batch.c, batch.mask))) for z in codes]

    def fool(model: Model, batch: Batch, out: Pass) -> Tensor:
        judge = frozen(critic)
        with torch.no_grad():
            features, _ = judge(known(model, batch, batch.target))
        alike, _ = judge(known(model, batch, location_of(out.px)[0]))
        distance = 0.5 * (features - alike).square().sum(-1)
        again = known(model, batch, location_of(model.decode(out.z[0].detach(), batch.c, batch.mask)))
        rows = [again, *from_prior(model, batch, out)]
        return distance + a * torch.stack([F.softplus(-judge(x)[1]) for x in rows]).sum(0)

    def separate(model: Model, batch: Batch, out: Pass) -> Tensor:
        with torch.no_grad():
            fakes = [known(model, batch, location_of(out.px)[0]), *from_prior(model, batch, out)]
        loss = F.softplus(-critic(known(model, batch, batch.target))[1])
        return loss + torch.stack([F.softplus(critic(x)[1]) for x in fakes]).mean(0)

    return Term(fool, "gan", critic=critic, aside=separate)
