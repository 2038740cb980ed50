"""mnist.py: what the peers in Python share: MNIST, the command line, and the two ways to be timed.

A peer defines make(options, data) that returns a pair of functions: step() trains one mini-batch,
accuracy(images, labels) evaluates. It is then run in one of two ways:

  PEER --net book --batch 100 --threads 1           serves bench/compare.py: reads a number of
                                                    seconds a line, trains for about so long, and
                                                    answers "SAMPLES SECONDS"
  PEER --net book --batch 100 --threads 1 --whole   the whole program of Saito's book, section
                                                    5.7.4: 10,000 iterations, and the accuracy on
                                                    all 70,000 images 17 times
"""
import argparse
import struct
import sys
import time

import numpy as np

NETS = {"book": [784, 50, 10], "wide": [784, 1024, 1024, 10]}
LEARNING_RATE = 0.1


def read_idx(path):
    with open(path, "rb") as file:
        dimensions = struct.unpack(">xxxB", file.read(4))[0]
        shape = struct.unpack(">" + "I" * dimensions, file.read(4 * dimensions))
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def load(folder):
    """Images as rows of float32 in 0..1, labels as integers: (train x, t), (test x, t)."""
    splits = []
    for name in ("train", "t10k"):
        images = read_idx(f"{folder}/{name}-images-idx3-ubyte")
        labels = read_idx(f"{folder}/{name}-labels-idx1-ubyte")
        x = images.reshape(len(images), -1).astype(np.float32) / 255.0
        splits.append((x, labels.astype(np.int64)))
    return splits


def initial_weights(net):
    """(W, b) of each layer in float64, as np.random gives them."""
    sizes = NETS[net]
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        scale = 0.01 if net == "book" else (2.0 / inputs) ** 0.5
        layers.append((scale * np.random.randn(inputs, outputs), np.zeros(outputs)))
    return layers


def serve(step):
    for _ in range(20):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        wanted = float(line)
        steps = 0
        start = time.perf_counter()
        while True:
            for _ in range(10):
                step()
            steps += 10
            seconds = time.perf_counter() - start
            if seconds >= wanted:
                break
        print(steps * OPTIONS.batch, seconds, flush=True)


def whole(step, accuracy, data):
    (train_x, train_t), (test_x, test_t) = data
    for iteration in range(10000):
        step()
        if iteration % 600 == 0:
            print(accuracy(train_x, train_t), accuracy(test_x, test_t))


def main(make):
    global OPTIONS
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", choices=NETS, default="book")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", default="data/mnist")
    parser.add_argument("--whole", action="store_true")
    OPTIONS = parser.parse_args()
    data = load(OPTIONS.data)
    step, accuracy = make(OPTIONS, data)
    if OPTIONS.whole:
        whole(step, accuracy, data)
    else:
        serve(step)
