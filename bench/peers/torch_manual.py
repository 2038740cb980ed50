"""torch_manual.py: PyTorch at its best: backpropagation by hand on tensors that are made once, and
each gradient added to its weights by the matrix product itself."""
import torch

import mnist


def make(options, data):
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    (x, t), _ = data
    x, t = torch.from_numpy(x), torch.from_numpy(t)
    batch = options.batch
    weights = [(torch.from_numpy(W).float(), torch.from_numpy(b).float())
               for W, b in mnist.initial_weights(options.net)]
    outs = [torch.empty(batch, len(b)) for _, b in weights]
    gradients = [torch.empty(batch, len(b)) for _, b in weights]
    xb = torch.empty(batch, x.shape[1])
    tb = torch.empty(batch, dtype=t.dtype)
    rows = torch.empty(batch, dtype=torch.int64)
    minus_one = torch.full((batch, 1), -1.0)
    rate = mnist.LEARNING_RATE
    last = len(weights) - 1

    def step():
        rows.random_(len(x))
        torch.index_select(x, 0, rows, out=xb)
        torch.index_select(t, 0, rows, out=tb)
        h = xb
        for i, (W, b) in enumerate(weights):
            torch.addmm(b, h, W, out=outs[i])
            if i < last:
                outs[i].relu_()
            h = outs[i]
        d = gradients[last]
        torch.softmax(h, 1, out=d)
        d.scatter_add_(1, tb.unsqueeze(1), minus_one)
        d.mul_(1.0 / batch)
        for i in range(last, -1, -1):
            W, b = weights[i]
            h = outs[i - 1] if i > 0 else xb
            if i > 0:
                torch.mm(gradients[i], W.t(), out=gradients[i - 1])
                gradients[i - 1].mul_(h > 0)
            W.addmm_(h.t(), gradients[i], alpha=-rate)
            b.sub_(gradients[i].sum(0), alpha=rate)

    def accuracy(x, t):
        h = torch.from_numpy(x)
        for i, (W, b) in enumerate(weights):
            h = torch.addmm(b, h, W)
            if i < last:
                h.relu_()
        return (h.argmax(dim=1) == torch.from_numpy(t)).float().mean().item()

    return step, accuracy


mnist.main(make)
