"""numpy_plain.py: NumPy as one writes it after the book: a class a layer, float64 weights."""
import numpy as np

import mnist


class Affine:
    def __init__(self, W, b):
        self.W = W
        self.b = b

    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b

    def backward(self, dout):
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return np.dot(dout, self.W.T)


class Relu:
    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class SoftmaxWithLoss:
    def forward(self, x, t):
        e = np.exp(x - np.max(x, axis=1, keepdims=True))
        self.y = e / np.sum(e, axis=1, keepdims=True)
        self.t = t
        return -np.mean(np.log(self.y[np.arange(len(t)), t] + 1e-7))

    def backward(self):
        dx = self.y.copy()
        dx[np.arange(len(self.t)), self.t] -= 1
        return dx / len(self.t)


def make(options, data):
    (x, t), _ = data
    layers = []
    for W, b in mnist.initial_weights(options.net):
        layers += [Affine(W, b), Relu()]
    layers.pop()
    last = SoftmaxWithLoss()

    def predict(x):
        for layer in layers:
            x = layer.forward(x)
        return x

    def step():
        rows = np.random.choice(len(x), options.batch)
        last.forward(predict(x[rows]), t[rows])
        dout = last.backward()
        for layer in reversed(layers):
            dout = layer.backward(dout)
        for layer in layers:
            if isinstance(layer, Affine):
                layer.W -= mnist.LEARNING_RATE * layer.dW
                layer.b -= mnist.LEARNING_RATE * layer.db

    def accuracy(x, t):
        return np.mean(np.argmax(predict(x), axis=1) == t)

    return step, accuracy


mnist.main(make)
