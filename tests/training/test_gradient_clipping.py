import torch
from monai.engines import SupervisedTrainer
from torch import nn

from stroke_nets.training.gradient_clipping import GradientClipping


def test_a_large_gradient_moves_the_weights_by_the_clipped_norm():
    network = nn.Linear(4, 1, bias=False)
    before = network.weight.detach().clone()
    batch = {"image": torch.full((1, 4), 1000.0), "label": torch.full((1, 1), -1e6)}
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=nn.MSELoss(),
        train_handlers=[GradientClipping(network.parameters(), max_norm=12)],
        decollate=False,
    ).run()
    step = (network.weight - before).norm()
    torch.testing.assert_close(step, torch.tensor(12.0), rtol=1e-5, atol=0)  # float32


def test_gradients_are_unscaled_first_under_amp():
    class Scaler:
        def unscale_(self, optimizer):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad /= 1024

    class Engine:
        scaler = Scaler()

    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([3.0, 0.0, 4.0]) * 1024  # norm 5 once unscaled
    Engine.optimizer = torch.optim.SGD([weight])
    GradientClipping([weight], max_norm=12)._clip(Engine())
    torch.testing.assert_close(weight.grad, torch.tensor([3.0, 0.0, 4.0]))
