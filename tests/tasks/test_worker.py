"""The worker computes in bf16 what its master learns in float32; in float32 and channels first it is its master."""

import pytest
import torch
from tiny import TINY

from noisette.experiment import build
from noisette.experiment.config import Config, merge, parse
from noisette.experiment.runs import Shape
from noisette.tasks.worker import Worker

SHAPE = Shape.images(3, 8, 8, ("a", "b"))
WAYS = [(p, layout) for p in ("fp32", "bf16") for layout in ("channels_first", "channels_last")]


def settings(precision: str, layout: str, norm: str = "group", **net: object) -> Config:
    told = {"train.precision": precision, "train.layout": layout, "net.norm": norm, "net.attention": [0]}
    return parse(merge(merge(TINY, told), {f"net.{k}": v for k, v in net.items()}), "test")


def worker_for(config: Config) -> Worker:
    master = build.denoiser(config, SHAPE)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in master.parameters():  # the last convolution starts at zero and would hide all others
            weight += 0.05 * torch.randn(weight.shape, generator=g)
    return Worker(master, config.train)


def loss_of(config: Config, worker: Worker, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(4, 3, 8, 8, generator=g), torch.randn(4, 3, 8, 8, generator=g)
    t = worker.master.schedule.snap(torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64))
    return build.objective(config, SHAPE)(worker.denoiser, x, t, noise, torch.tensor([0, 1, 2, 0])).total.mean()


def gradients(config: Config, parts: int = 1) -> tuple[float, dict[str, torch.Tensor]]:
    worker = worker_for(config)
    worker.begin()
    total = 0.0
    for seed in range(parts):
        loss = loss_of(config, worker, seed) / parts
        worker.backward(loss)
        total += loss.item()
    return total, {name: p.grad.clone() for name, p in worker.master.named_parameters()}


@pytest.mark.parametrize("norm", ("group", "layer", "rms"))
@pytest.mark.parametrize("way", WAYS[1:], ids="-".join)
@pytest.mark.parametrize("parts", (1, 3))
def test_every_way_gives_the_gradients_of_the_plain_one(way, norm, parts):
    expected, reference = gradients(settings("fp32", "channels_first", norm), parts)
    loss, found = gradients(settings(*way, norm), parts)
    near = 1e-5 if way[0] == "fp32" else 0.03
    assert loss == pytest.approx(expected, rel=near)
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32 and gradient.shape == reference[name].shape
    whole, true = (torch.cat([g[name].flatten() for name in reference]) for g in (found, reference))
    assert (whole - true).norm() < near * true.norm()


def test_where_there_is_nothing_to_change_it_is_its_master():
    worker = worker_for(settings("fp32", "channels_first"))
    assert worker.denoiser is worker.master


@pytest.mark.parametrize("way", WAYS[1:], ids="-".join)
def test_updates_too_small_for_bf16_add_up_in_the_master(way):
    worker = worker_for(settings(*way))
    first = [w.detach().clone() for w in worker.master.parameters()]
    for _ in range(100):
        with torch.no_grad():
            for weight in worker.master.parameters():
                weight *= 1.0005  # half of the last digit of bf16 is 0.002 to 0.004 of a number
        worker.refresh()
    for before, master, weight in zip(first, worker.master.parameters(), worker.denoiser.parameters(), strict=True):
        torch.testing.assert_close(master, before * 1.0005**100, rtol=1e-4, atol=0)
        assert torch.equal(weight, master.to(weight.dtype))


def test_layout_is_that_of_the_setting_and_the_master_keeps_its_own():
    worker = worker_for(settings("bf16", "channels_last"))
    fast, slow = worker.denoiser.backbone.conv_in.weight, worker.master.backbone.conv_in.weight
    assert fast.is_contiguous(memory_format=torch.channels_last) and fast.dtype == torch.bfloat16
    assert slow.is_contiguous() and slow.dtype == torch.float32


def test_a_weight_that_no_loss_reaches_has_no_gradient():
    config = settings("bf16", "channels_first")
    worker = worker_for(config)
    worker.begin()
    worker.backward(worker.denoiser.backbone.conv_in.weight.float().sum())
    assert worker.master.backbone.conv_in.weight.grad.eq(1).all()
    assert worker.master.backbone.conv_out.weight.grad is None


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_a_caller_who_looked_at_the_net_does_not_end_its_dropout(way):
    worker = worker_for(settings(*way))
    worker.master.eval()
    worker.denoiser.eval()
    worker.begin()
    assert all(module.training for module in worker.denoiser.modules())


def test_nets_have_no_buffers_for_a_worker_to_take_over():
    assert not list(worker_for(settings("bf16", "channels_last")).master.buffers())
