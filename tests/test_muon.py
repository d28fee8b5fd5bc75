"""AdamW and Muon as one optimiser."""

from __future__ import annotations

import torch
from torch import nn

from sole.checkpoint import load_optimizer, save_optimizer
from sole.train.muon import RATE_FACTOR, MuonWithAdamW


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1))


def optimizer_of(net: nn.Sequential) -> MuonWithAdamW:
    matrices = [p for p in net.parameters() if p.ndim == 2]
    others = [{"params": [p for p in net.parameters() if p.ndim == 1], "factor": 1.0}]
    return MuonWithAdamW(matrices, others, learning_rate=0.03, weight_decay=0.0)


def train(net: nn.Sequential, optimizer: MuonWithAdamW, steps: range) -> list[float]:
    losses = []
    for step in steps:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss = (net(x)[:, 0] - x.sum(1)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_it_learns():
    net = network()
    losses = train(net, optimizer_of(net), range(100))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_written_and_read_back_it_goes_on_as_if_nothing_happened(tmp_path):
    whole = network()
    expected = train(whole, optimizer_of(whole), range(20))
    first = network()
    optimizer = optimizer_of(first)
    train(first, optimizer, range(10))
    save_optimizer(tmp_path / "optimizer.safetensors", optimizer)
    second = network()
    second.load_state_dict(first.state_dict())
    fresh = optimizer_of(second)
    load_optimizer(tmp_path / "optimizer.safetensors", fresh)
    assert train(second, fresh, range(10, 20)) == expected[10:]


def test_every_parameter_is_in_one_group_and_matrices_have_their_own_rate():
    net = network()
    groups = optimizer_of(net).param_groups
    assert [group["factor"] for group in groups] == [1.0, RATE_FACTOR]
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())


def test_a_rate_that_is_set_is_the_rate_of_the_next_step():
    net = network()
    optimizer = optimizer_of(net)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in net.parameters()]
    train(net, optimizer, range(1))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
