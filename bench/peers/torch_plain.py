"""torch_plain.py: PyTorch as anyone writes it: modules, cross-entropy, autograd, optim.SGD."""
import torch
from torch import nn

import mnist


def make(options, data):
    torch.set_num_threads(options.threads)
    (x, t), _ = data
    x, t = torch.from_numpy(x), torch.from_numpy(t)
    layers = []
    for W, b in mnist.initial_weights(options.net):
        linear = nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=mnist.LEARNING_RATE)

    def step():
        rows = torch.randint(len(x), (options.batch,))
        optimizer.zero_grad()
        loss = loss_of(model(x[rows]), t[rows])
        loss.backward()
        optimizer.step()

    def accuracy(x, t):
        with torch.no_grad():
            predicted = model(torch.from_numpy(x)).argmax(dim=1)
        return (predicted == torch.from_numpy(t)).float().mean().item()

    return step, accuracy


mnist.main(make)
